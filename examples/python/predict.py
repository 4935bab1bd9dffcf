#!/usr/bin/env python3
"""Calls a model on this device with numbers, and prints what it gives."""

import argparse
import sys

import grpc
from slipway_edge import Agent, SharedMemory, edge, pack, tensor


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--socket", default="/run/slipway/agent.sock")
    args.add_argument("--shared-memory", action="store_true", help="let the tensor lie in shared memory")
    args.add_argument("model")
    args.add_argument("numbers", nargs="+", type=float)
    args = args.parse_args()

    with Agent(args.socket) as agent:
        takes = agent.describe(args.model).input_tensor_metadatas
        if len(takes) != 1:
            sys.exit("%s takes %d inputs; this program sends one" % (args.model, len(takes)))
        numbers = args.numbers
        if takes[0].data_type not in (edge.FLOAT16, edge.FLOAT32, edge.FLOAT64):
            numbers = [int(n) for n in numbers]
        if not args.shared_memory:
            show(agent.predict(args.model, tensor(takes[0], numbers)))
            return
        data = pack(takes[0], numbers)
        with SharedMemory(len(data)) as memory:
            memory.write(data)
            show(agent.predict(args.model, memory.tensor(takes[0])))


def show(outputs):
    for name, shape, numbers in outputs:
        print(name.decode(errors="replace") if isinstance(name, bytes) else name, shape, numbers)


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as e:
        sys.exit("%s: %s" % (e.code().name, e.details()))
