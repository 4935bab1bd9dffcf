"""A small client of slipway-agent, for Python programs on the same device.

It needs the stubs agent_pb2.py and agent_pb2_grpc.py beside it: see
examples/README.md.
"""

import ctypes
import ctypes.util
import os
import struct

import agent_pb2 as edge
import agent_pb2_grpc
import grpc

# How struct and array call the types of the protocol. FLOAT16 is "e".
CODES = {
    edge.UINT8: "B",
    edge.INT16: "h",
    edge.INT32: "i",
    edge.INT64: "q",
    edge.FLOAT16: "e",
    edge.FLOAT32: "f",
    edge.FLOAT64: "d",
}

LARGEST_MESSAGE = 64 << 20


class Agent:
    """The agent behind a socket."""

    def __init__(self, socket, timeout=10):
        self.timeout = timeout  # of a call, in seconds
        self.channel = grpc.insecure_channel(
            "unix:" + os.path.abspath(socket),
            options=[
                ("grpc.max_send_message_length", LARGEST_MESSAGE),
                ("grpc.max_receive_message_length", LARGEST_MESSAGE),
            ],
        )
        self.calls = agent_pb2_grpc.AgentStub(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def describe(self, model):
        """What the agent knows of a model."""
        return self.calls.DescribeModel(edge.DescribeModelRequest(name=model), timeout=self.timeout).model

    def predict(self, model, *tensors):
        """The outputs of a model: a list of (name, shape, numbers)."""
        answer = self.calls.Predict(edge.PredictRequest(name=model, tensors=tensors), timeout=self.timeout)
        return [(t.tensor_metadata.name, list(t.tensor_metadata.shape), unpack(t)) for t in answer.tensors]


def tensor(metadata, numbers):
    """A tensor that travels by value. Of metadata only the type is needed."""
    return edge.Tensor(tensor_metadata=metadata, byte_data=pack(metadata, numbers))


def pack(metadata, numbers):
    """The bytes of numbers."""
    return struct.pack("<%d%s" % (len(numbers), CODES[metadata.data_type]), *numbers)


def unpack(t):
    """The numbers of a tensor that travelled by value."""
    code = CODES[t.tensor_metadata.data_type]
    return list(struct.unpack("<%d%s" % (len(t.byte_data) // struct.calcsize(code), code), t.byte_data))


_libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
_libc.shmat.restype = ctypes.c_void_p
_libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
_libc.shmdt.argtypes = [ctypes.c_void_p]
_libc.shmget.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_int]

_IPC_PRIVATE, _IPC_CREAT, _IPC_RMID, _IPC_SET, _IPC_STAT = 0, 0o1000, 0, 1, 2
_MODE = 20  # where struct shmid_ds has the mode, in bytes; 16 bits


class SharedMemory:
    """A System V segment that this process fills and the agent reads."""

    def __init__(self, size):
        self.size = size
        self.id = self._do(_libc.shmget(_IPC_PRIVATE, size, _IPC_CREAT | 0o600))
        self.address = _libc.shmat(self.id, None, 0)
        if self.address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "shmat failed")
        # From now on nobody can attach it for writing; this process has.
        about = ctypes.create_string_buffer(256)
        self._do(_libc.shmctl(self.id, _IPC_STAT, about))
        struct.pack_into("=H", about, _MODE, 0o400)
        self._do(_libc.shmctl(self.id, _IPC_SET, about))

    @staticmethod
    def _do(result):
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def write(self, data, offset=0):
        """Puts data into the segment; not while a call with it is under way."""
        if offset + len(data) > self.size:
            raise ValueError("%d bytes do not fit" % len(data))
        ctypes.memmove(self.address + offset, bytes(data), len(data))

    def tensor(self, metadata, offset=0, size=0):
        """A tensor that lies in the segment. Size 0 is as much as it needs."""
        window = edge.SharedMemoryHandle(segment_id=self.id, offset=offset, size=size)
        return edge.Tensor(tensor_metadata=metadata, shared_memory_handle=window)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        _libc.shmdt(self.address)
        _libc.shmctl(self.id, _IPC_RMID, None)
