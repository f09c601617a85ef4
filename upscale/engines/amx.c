/* 3x3 convolutions on the matrix units (AMX) of Intel's server processors, for amx.py; no Python in here.

   Features are bf16. A row of them holds planes, each with 32 channels of all its pixels, and a pixel of zeros at either end:

       row y    | 0 | channels 0..31 of pixel 0 | … of pixel 1 | … | 0 |   | 0 | channels 32..63 of pixel 0 | …

   So features are joined without a copy: a convolution is told where the rows of each of its chunks of 32 channels lie.
   A tile is 16 pixels by 32 channels, 1 KB of consecutive memory, whatever its tap of the kernel is. Six tiles of results
   (pixels) are made at once, for 16 channels:

       tile register 0..5   16 pixels x 16 channels, fp32     += (7) 16 pixels x 32 channels  times  (6) 32 x 16 weights

   Six, as three rows of two tiles where the picture has them: their taps overlap most, and memory is what limits us. When
   they are done they are stored, and finished (bias, activation, sums, rounding) while the next six are multiplied.

   What is handed on over many blocks is more exact than bf16: `low` planes hold what rounding to bf16 left over.
   The order of summation never depends on how rows are cut, so that results are the same bits for any bands and threads. */

#define _GNU_SOURCE
#include <immintrin.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef EMULATED_TILES
#include EMULATED_TILES
#endif

#define INLINE static inline __attribute__((always_inline))

enum { CHUNKS = 32, TAPS = 9, GROUP = 6, HIGH = 3, PIXEL = 64, SUMS = 2, SPINS = 4000 };

/* A thread's share of a chain: what it needs of STRIP columns stays in a cache of 2 MB; bands of BAND rows compute 5 % again,
   a single operation nothing. */
enum { STRIP = 128, BAND = 48, LOW_BAND = 12 };

typedef const char *const *Rows; /* the address of pixel 0 of each row */

/* One convolution. Strides are bytes, but for `pixels`. Row and column (y, x) count in the result before enlargement. */
typedef struct {
  Rows in[CHUNKS];       /* rows of each chunk of 32 channels */
  int64_t in_at[CHUNKS]; /* where in a row its plane begins */
  int32_t chunks, taps, dy[TAPS], dx[TAPS];
  int32_t top, rows, width, tiles; /* results: rows [top, top + rows), `tiles` times 16 channels */
  const char *weights;             /* [tiles][chunks][taps] of 16 x 16 x 2 bf16: (pairs of channels in, channels out) */
  const float *bias, *slopes;      /* [16 * tiles]; slopes: of what is negative, 1 for none */
  Rows sums[SUMS];                 /* result = sum + scale * result, one after the other; NULL for none */
  float scale;
  int32_t up, up_y, up_x;    /* the result's pixel (y, x) is written at (up * y + up_y, up * x + up_x) */
  Rows out;                  /* bf16 rows, or NULL */
  int64_t plane, low;        /* from plane to plane, of `out` and `sums`; from a plane to what its rounding left over, or 0 */
  void *pixels; /* finished pixels instead: channel c of (top + y, x) at pixels[y * row + x * step + place[c]] */
  int64_t row, step;
  const int32_t *place; /* [16 * tiles] */
  int32_t channels;     /* that are real */
  int32_t bytes;        /* whether pixels are 0 to 255 instead of floats from 0 to 1 */
  atomic_int *broken;   /* becomes 1 where a result is not finite, before it is clipped */
  int32_t chain;        /* how many operations from this one on read what the one before gave, and are run together */
} Op;

typedef struct {
  const Op *op;
  int n, count, at;
  long y[GROUP], x[GROUP], end;
  float sums[2][GROUP * 256] __attribute__((aligned(64)));
} Pending; /* stored and not yet finished, in sums[at ^ 1]; columns from `end` on belong to nobody */

/* What is left of a chain: its operations, and how many of its bands are done. */
typedef struct {
  const Op *first;
  long bands;
  atomic_long done;
} Chain;

/* Lives as long as a thread knows it. A thread that comes late, since the processor was busy with others, finds no band left and
   looks at nothing else: nobody waits for it, and `first` may be gone by then. */
typedef struct {
  int chains, threads;
  atomic_int known;
  atomic_long *next; /* [chains][threads]: the next band of each thread's own */
  Chain chain[];
} Job;

typedef struct {
  Job *job;
  int number;
} Worker;

INLINE __m512 widened(const char *at) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)at)), 16));
}

INLINE __m256i rounded(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }

INLINE __m512 activated(const float *sums, __m512 bias, __m512 slopes) {
  __m512 v = _mm512_add_ps(_mm512_load_ps(sums), bias);
  return _mm512_mask_mul_ps(v, _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ), v, slopes); /* NaN stays */
}

/* `summed` and `low` are constants where this is inlined. */
INLINE void to_rows(const Op *o, int n, long y, long x, long count, const float *sums, const int summed, const int low) {
  __m512 bias = _mm512_loadu_ps(o->bias + 16 * n), slopes = _mm512_loadu_ps(o->slopes + 16 * n);
  __m512 scale = _mm512_set1_ps(o->scale);
  long step = (long)o->up * PIXEL;
  long at = n / 2 * o->plane + n % 2 * 32, column = at + x * PIXEL;
  const char *first = summed > 0 ? o->sums[0][y] + column : 0, *second = summed > 1 ? o->sums[1][y] + column : 0;
  char *out = (char *)o->out[o->up * y + o->up_y] + at + (o->up * x + o->up_x) * PIXEL;
  for (long i = 0; i < count; i++, sums += 16, out += step) {
    __m512 v = activated(sums, bias, slopes);
    if (summed > 0) v = _mm512_fmadd_ps(v, scale, _mm512_add_ps(widened(first + i * PIXEL), widened(first + i * PIXEL + o->low)));
    if (summed > 1) v = _mm512_fmadd_ps(v, scale, _mm512_add_ps(widened(second + i * PIXEL), widened(second + i * PIXEL + o->low)));
    __m256i high = rounded(v);
    _mm256_storeu_si256((void *)out, high);
    if (low) _mm256_storeu_si256((void *)(out + o->low), rounded(_mm512_sub_ps(v, widened(out))));
  }
}

static void to_pixels(const Op *o, int n, long y, long x, long count, const float *sums) {
  __m512 bias = _mm512_loadu_ps(o->bias + 16 * n), slopes = _mm512_loadu_ps(o->slopes + 16 * n);
  __m512 none = _mm512_setzero_ps(), full = _mm512_set1_ps(1), levels = _mm512_set1_ps(255), endless = _mm512_set1_ps(INFINITY);
  int left = o->channels - 16 * n < 16 ? o->channels - 16 * n : 16;
  __mmask16 real = (1u << left) - 1, wrong = 0;
  const int32_t *place = o->place + 16 * n;
  long at = (y - o->top) * o->row + x * o->step;
  for (long i = 0; i < count; i++, sums += 16, at += o->step) {
    __m512 v = activated(sums, bias, slopes);
    wrong |= _mm512_mask_cmp_ps_mask(real, _mm512_abs_ps(v), endless, _CMP_NLT_UQ);
    v = _mm512_min_ps(_mm512_max_ps(v, none), full);
    if (!o->bytes) {
      _mm512_mask_i32scatter_ps((float *)o->pixels + at, real, _mm512_loadu_si512(place), v, 4);
      continue;
    }
    v = _mm512_mul_ps(v, levels);
    uint8_t rounded[16], *out = (uint8_t *)o->pixels + at;
    _mm_storeu_si128((void *)rounded, _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(v)));
    for (int c = 0; c < left; c++) out[place[c]] = rounded[c];
  }
  if (wrong) atomic_store(o->broken, 1);
}

/* Lines that will be written soon, into the cache. */
INLINE void ahead(const Op *o, int n, long y, long x) {
  const char *out = o->out[o->up * y + o->up_y] + n / 2 * o->plane + (o->up * x + o->up_x) * PIXEL;
  for (int i = 0; i < 16; i++) __builtin_prefetch(out + i * o->up * PIXEL, 1, 3);
}

static void finish(const Pending *p, int m) {
  const Op *o = p->op;
  const float *sums = p->sums[p->at ^ 1] + 256 * m;
  long y = p->y[m], x = p->x[m], count = p->end - x < 16 ? p->end - x : 16;
  if (o->pixels) to_pixels(o, p->n, y, x, count, sums);
  else if (o->sums[1]) to_rows(o, p->n, y, x, count, sums, 2, 1);
  else if (o->sums[0]) to_rows(o, p->n, y, x, count, sums, 1, 1);
  else if (o->low) to_rows(o, p->n, y, x, count, sums, 0, 1);
  else to_rows(o, p->n, y, x, count, sums, 0, 0);
}

static void finish_all(Pending *p) {
  for (int m = 0; m < p->count; m++) finish(p, m);
  p->count = 0;
}

#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define ZERO(m) if (m < count) _tile_zero(m);
#define MULTIPLY(m) if (m < count) { _tile_loadd(7, from[m] + tap, PIXEL); _tile_dpbf16ps(m, 7, 6); }
#define STORE(m) if (m < count) _tile_stored(m, p->sums[p->at] + 256 * m, 64);

/* `count` tiles at once, at (y, x); a constant where this is inlined. */
INLINE void multiply(const Op *o, const int count, const long *y, const long *x, long end, Pending *p) {
  const char *weights = o->weights, *lines[3][GROUP];
  for (int n = 0; n < o->tiles; n++) {
    int finished = -1; /* the first step only gives the units something to do */
    EACH(ZERO)
    for (int k = 0; k < o->chunks; k++) {
      for (int dy = -1; dy <= 1; dy++)
        for (int m = 0; m < count; m++) lines[dy + 1][m] = o->in[k][y[m] + dy] + o->in_at[k] + x[m] * PIXEL;
      for (int t = 0; t < o->taps; t++, weights += 1024) {
        const char **from = lines[o->dy[t] + 1];
        long tap = o->dx[t] * PIXEL;
        _tile_loadd(6, weights, 64);
        EACH(MULTIPLY)
        if (finished >= 0 && finished < p->count) finish(p, finished);
        if (finished >= 0 && finished < count && o->out && n % 2 == 0) ahead(o, n, y[finished], x[finished]);
        finished++;
      }
    }
    for (; finished < p->count; finished++) finish(p, finished); /* few steps */
    EACH(STORE)
    p->op = o, p->n = n, p->count = count, p->at ^= 1, p->end = end;
    memcpy(p->y, y, count * sizeof *y), memcpy(p->x, x, count * sizeof *x);
  }
}

INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long most(long a, long b) { return a > b ? a : b; }

/* Rows [top, bottom), at most HIGH, and columns [left, right) of an operation, six tiles after the other. */
static void patch(const Op *o, long top, long bottom, long left, long right, Pending *p) {
  long high = bottom - top, tiles = (right - left + 15) / 16 * high, groups = (tiles + GROUP - 1) / GROUP;
  for (long g = 0; g < groups; g++) {
    long first = tiles * g / groups, count = tiles * (g + 1) / groups - first, y[GROUP], x[GROUP];
    for (long m = 0; m < count; m++) y[m] = top + (first + m) % high, x[m] = left + (first + m) / high * 16;
    switch (count) {
    case 6: multiply(o, 6, y, x, right, p); break;
    case 5: multiply(o, 5, y, x, right, p); break;
    case 4: multiply(o, 4, y, x, right, p); break;
    case 3: multiply(o, 3, y, x, right, p); break;
    case 2: multiply(o, 2, y, x, right, p); break;
    case 1: multiply(o, 1, y, x, right, p); break;
    }
  }
}

/* Rows [top, bottom) of the last operation of a chain, with what that needs of the others: in strips of STRIP columns and
   HIGH rows at a time, each operation some rows and a column behind the one before, so that all stays in the cache. What
   is needed of rows beyond is computed once more; of columns beyond it is there, from the strip before. */
static void band(const Op *o, long top, long bottom, Pending *p) {
  long n = o->chain, lag = HIGH + 1, width = o->width, strips = n > 1 ? (width + STRIP - 1) / STRIP : 1;
  for (long s = 0; s < strips; s++)
    for (long y = top - n + 1; y < bottom + n * lag; y += HIGH)
      for (long k = 0, ran = 1; k < n; k++) { /* the first one reads nothing of the others */
        long more = n - 1 - k, first = most(o[k].top, top - more), end = least(o[k].top + o[k].rows, bottom + more);
        long left = s ? width * s / strips / 16 * 16 - k : 0;
        long right = s < strips - 1 ? width * (s + 1) / strips / 16 * 16 - k : width;
        long from = most(first, y - k * lag), to = least(end, y - k * lag + HIGH);
        if (!ran) finish_all(p); /* else what waits was made right now, and nobody reads it yet */
        if ((ran = from < to && left < right)) patch(o + k, from, to, left, right, p);
      }
  finish_all(p);
}

static long bands_of(const Op *first, int threads) {
  long rows = first[first->chain - 1].rows;
  return most(1, rows / (threads * (first->chain > 1 ? BAND : LOW_BAND))) * threads;
}

/* What one thread does of a chain: of its own bands, whose rows its caches know from the chain before, then of others'. */
static void share(Chain *c, int me, int threads, atomic_long *next, Pending *p) {
  for (int k = 0; k < threads; k++) {
    long each = c->bands / threads, owner = (me + k) % threads, b;
    while ((b = atomic_fetch_add(next + owner, 1)) < each) {
      const Op *last = c->first + c->first->chain - 1;
      long number = each * owner + b;
      band(c->first, last->top + last->rows * number / c->bands, last->top + last->rows * (number + 1) / c->bands, p);
      atomic_fetch_add(&c->done, 1);
    }
  }
}

static void configure(void) {
  struct { uint8_t palette, start, reserved[14]; uint16_t bytes[16]; uint8_t rows[16]; } config = {.palette = 1};
  for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
  _tile_loadconfig(&config);
}

static void forget(Job *job) {
  if (atomic_fetch_sub(&job->known, 1) == 1) free(job->next), free(job);
}

static void work(Job *job, int number) {
  Pending pending;
  pending.count = pending.at = 0;
  configure();
  for (int i = 0; i < job->chains; i++) {
    Chain *c = job->chain + i;
    share(c, number, job->threads, job->next + (long)i * job->threads, &pending);
    /* Not asleep: it takes some microseconds, hundreds of times in a picture. */
    for (int spins = 0; atomic_load(&c->done) < c->bands; spins++)
      if (spins < SPINS) _mm_pause(); else sched_yield();
  }
  _tile_release();
}

static void *started(void *given) {
  Worker me = *(Worker *)given;
  free(given);
  work(me.job, me.number);
  forget(me.job);
  return NULL;
}

static void start(Job *job, int number) {
  pthread_t thread;
  Worker *worker = malloc(sizeof *worker);
  if (!worker) return; /* then the others do its share */
  *worker = (Worker){job, number};
  atomic_fetch_add(&job->known, 1);
  if (pthread_create(&thread, NULL, started, worker)) forget(job), free(worker);
  else pthread_detach(thread);
}

/* 0 where the processor's matrix units may be used: Linux gives a process their registers when it asks. */
int amx_ready(void) {
  enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  return (int)syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA);
}

/* Runs chains of operations one after the other, each on all threads. -1 where memory is short. */
int amx_run(const Op *ops, int count, int threads) {
  Job *job = malloc(sizeof *job + count * sizeof(Chain));
  atomic_long *next = calloc((size_t)count * threads, sizeof *next);
  if (!job || !next) return free(job), free(next), -1;
  job->chains = 0, job->threads = threads, job->next = next;
  atomic_init(&job->known, 1);
  for (int i = 0; i < count; i += ops[i].chain) {
    Chain *c = job->chain + job->chains++;
    c->first = ops + i, c->bands = bands_of(ops + i, threads);
    atomic_init(&c->done, 0);
  }
  for (int i = 1; i < threads; i++) start(job, i);
  work(job, 0);
  forget(job);
  return 0;
}

int amx_op_size(void) { return sizeof(Op); }
