"""Every call of the Edge Manager protocol, with stubs made by protoc.

usage: check.py SOCKET PACKAGE [text]

"text" says that the stubs declare names as strings.
"""

import sys
import time

import grpc
from slipway_edge import Agent, SharedMemory, edge, pack, tensor

socket, package = sys.argv[1:3]
text = sys.argv[3:] == ["text"]


def name(s):
    return s if text else s.encode()


def fails(code, call, *args):
    try:
        call(*args)
    except grpc.RpcError as e:
        assert e.code() == code, "%s: %s" % (e.code(), e.details())
        assert e.details(), "the failure has no reason"
        return e.details()
    raise AssertionError("it did not fail")


with Agent(socket, timeout=120) as agent:
    calls = agent.calls
    # A name that is not UTF-8 can only be read as bytes; it must not hurt the
    # others, as it did when names were strings.
    if not text:
        names = [m.name for m in calls.ListModels(edge.ListModelsRequest()).models]
        assert names == ["any", "double", "plain"], names
        latin = agent.describe("double").input_tensor_metadatas[0]
        assert latin.name == b"donn\xe9es", latin
        assert agent.predict("double", tensor(latin, [1, 2, 3, 4])) == [(b"doubled", [1, 4], [2, 4, 6, 8])]

    about = agent.describe("plain").input_tensor_metadatas[0]
    assert about.name == name("x") and list(about.shape) == [-1, 4], about
    row = edge.TensorMetadata(name=name("x"), data_type=edge.FLOAT32, shape=[2, 4])
    numbers = [float(n) for n in range(8)]
    want = [(name("x"), [2, 4], numbers)]
    assert agent.predict("plain", tensor(row, numbers)) == want
    assert agent.predict("plain", tensor(about, numbers)) == want
    bare = edge.Tensor(byte_data=pack(row, numbers))
    assert agent.predict("plain", bare) == want

    with SharedMemory(1 << 20) as memory:
        for shift in range(3):
            shifted = [n + shift for n in numbers]
            memory.write(pack(row, shifted), offset=4096)
            assert agent.predict("plain", memory.tensor(row, offset=4096)) == [(name("x"), [2, 4], shifted)]
            assert agent.predict("plain", memory.tensor(about, offset=4096, size=32)) == [(name("x"), [2, 4], shifted)]
        window = memory.tensor(row, offset=1 << 20)
        assert "32 bytes are needed" in fails(grpc.StatusCode.INVALID_ARGUMENT, agent.predict, "plain", window)

        wrong = edge.TensorMetadata(name=name("x"), data_type=edge.FLOAT64, shape=[1, 4])
        says = fails(grpc.StatusCode.INVALID_ARGUMENT, agent.predict, "plain", tensor(wrong, [1, 2, 3, 4]))
        assert says == 'input "x": expected shape [n, 4] of FLOAT, got [1, 4] of FLOAT64', says
        fails(grpc.StatusCode.NOT_FOUND, agent.predict, "other", bare)

        uid = "capture%d%s" % (int(time.time()), text)
        picture = edge.AuxilaryData(name="jpg", encoding=edge.NONE, byte_data=b"\xff\xd8")
        event = edge.CaptureDataRequest(
            model_name="plain",
            capture_id=uid,
            inference_timestamp=edge.Timestamp(seconds=int(time.time())),
            input_tensors=[memory.tensor(row, offset=4096)],
            output_tensors=[tensor(row, numbers)],
            inputs=[picture],
        )
        calls.CaptureData(event)
        fails(grpc.StatusCode.ALREADY_EXISTS, calls.CaptureData, event)
    status = calls.GetCaptureDataStatus(edge.GetCaptureDataStatusRequest(capture_id=uid)).status
    assert status == edge.SUCCESS, status

    made = calls.LoadModel(edge.LoadModelRequest(url=package, name="mine")).model
    assert made.name == "mine" and made.url == package, made
    fails(grpc.StatusCode.ALREADY_EXISTS, calls.LoadModel, edge.LoadModelRequest(url=package, name="mine"))
    fails(grpc.StatusCode.NOT_FOUND, calls.LoadModel, edge.LoadModelRequest(url=package + "/none", name="other"))
    calls.UnLoadModel(edge.UnLoadModelRequest(name="mine"))
    fails(grpc.StatusCode.NOT_FOUND, calls.UnLoadModel, edge.UnLoadModelRequest(name="mine"))
print("ok")
