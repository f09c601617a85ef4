"""The network in other programs' hands, converted once for the picture's size. Wishes: onnxruntime, openvino with a hint for
the precision (fp32, bf16), ncnn, or tensorrt."""

import numpy as np
from serve import Job, Run, serve

from upscale import ncnn_write, onnx_file


def prepared(job: Job) -> tuple[Run, dict[str, str]]:
    return {"onnxruntime": _onnxruntime, "openvino": _openvino, "ncnn": _ncnn, "tensorrt": _tensorrt}[job.wishes[0]](
        job
    )


def _onnxruntime(job: Job) -> tuple[Run, dict[str, str]]:
    import onnxruntime

    provider = "CPUExecutionProvider" if job.device == "cpu" else "CUDAExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise SystemExit(f"this onnxruntime has no {provider}")
    session = onnxruntime.InferenceSession(str(job.folder / "model.onnx"), providers=[provider])
    return (
        lambda: _finished(session.run([onnx_file.OUTPUT], {onnx_file.INPUT: _planes(job)})[0][0]),
        {"onnxruntime": onnxruntime.__version__},
    )


def _openvino(job: Job) -> tuple[Run, dict[str, str]]:
    """As one would do it by hand: the converted model, a fixed shape, and a hint for the precision."""
    import openvino

    core = openvino.Core()
    model = core.read_model(job.folder / "model.onnx")
    model.reshape([1, 3, *job.pixels.shape[:2]])
    hints = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(job.wishes[1], job.wishes[1]),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", hints).create_infer_request()
    return lambda: _finished(request.infer([_planes(job)])[0][0]), {"openvino": openvino.__version__.split("-")[0]}


def _ncnn(job: Job) -> tuple[Run, dict[str, str]]:
    """With ncnn's own settings: on x86 that is fp32 with Winograd's convolutions, on all cores."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = ncnn.get_physical_big_cpu_count()
    if net.load_param(str(job.folder / "model.param")) or net.load_model(str(job.folder / "model.bin")):
        raise SystemExit("ncnn cannot load the network")

    def run() -> np.ndarray:
        extractor = net.create_extractor()
        planes = _planes(job)[0]  # a Mat borrows the array's memory until it is cloned
        extractor.input(ncnn_write.INPUT, ncnn.Mat(planes).clone())
        return _finished(np.array(extractor.extract(ncnn_write.OUTPUT)[1], np.float32))

    return run, {"ncnn": ncnn.__version__}


def _tensorrt(job: Job) -> tuple[Run, dict[str, str]]:
    """torch-tensorrt in fp16, for the picture's size."""
    import spandrel
    import torch
    import torch_tensorrt

    module = spandrel.ModelLoader().load_from_file(job.folder / "model.pth").model.eval().half().to(job.device)
    example = torch.from_numpy(_planes(job)).half().to(job.device)
    compiled = torch_tensorrt.compile(module, inputs=[example], enabled_precisions={torch.float16})

    @torch.inference_mode()
    def run() -> np.ndarray:
        y = compiled(torch.from_numpy(_planes(job)).to(job.device).half())[0].float().clamp(0, 1)
        return (y.permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()

    return run, {"torch": torch.__version__, "torch_tensorrt": torch_tensorrt.__version__}


def _planes(job: Job) -> np.ndarray:
    return np.ascontiguousarray(job.pixels.transpose(2, 0, 1)[np.newaxis], np.float32) / 255


def _finished(planes: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(planes, 0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)


if __name__ == "__main__":
    serve(prepared)
