/* AMX's tiles in plain C, for amx.c on processors without them: compiled with -DEMULATED_TILES='"…/emulated_tiles.h"'.
   Only what amx.c uses: eight tiles of 16 rows of 64 bytes. Every instruction's numbers are a macro's there, so they are here. */

static _Thread_local union { float sums[16][16]; uint16_t bf16[16][32]; } tile_registers[8];

static float widened_bf16(uint16_t bits) {
  union { uint32_t bits; float value; } wide = {(uint32_t)bits << 16};
  return wide.value;
}

static void emulated_load(int tile, const void *from, long stride) {
  for (int r = 0; r < 16; r++) memcpy(tile_registers[tile].bf16[r], (const char *)from + r * stride, 64);
}

static void emulated_store(int tile, void *to, long stride) {
  for (int r = 0; r < 16; r++) memcpy((char *)to + r * stride, tile_registers[tile].bf16[r], 64);
}

static void emulated_product(int sums, int a, int b) {
  for (int r = 0; r < 16; r++)
    for (int k = 0; k < 16; k++)
      for (int c = 0; c < 16; c++)
        for (int i = 0; i < 2; i++)
          tile_registers[sums].sums[r][c] +=
              widened_bf16(tile_registers[a].bf16[r][2 * k + i]) * widened_bf16(tile_registers[b].bf16[k][2 * c + i]);
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) (void)(config)
#define _tile_release() (void)0
#define _tile_zero(tile) memset(tile_registers + (tile), 0, sizeof *tile_registers)
#define _tile_loadd(tile, from, stride) emulated_load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated_store(tile, to, stride)
#define _tile_dpbf16ps(sums, a, b) emulated_product(sums, a, b)
