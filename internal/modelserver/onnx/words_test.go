//go:build cgo

package onnx

import (
	"strings"
	"testing"
)

func TestMessagesLeadWithTheSentenceThatMatters(t *testing.T) {
	const (
		load = "Load model from /srv/x/model.onnx failed:"
		dir  = "/onnxruntime_src/onnxruntime/core/"
		run  = "Non-zero status code returned while running Add node. Name:'A' Status Message: "
	)
	for said, want := range map[string]string{
		load + `This is an invalid model. In Node, ("y", NoSuch, "", -1) : ("x": tensor(float),) -> ` +
			`("y": tensor(float),) , Error No Op registered for NoSuch`: `No Op registered for NoSuch ` +
			`(operator NoSuch, node y)`,
		load + "Invalid model. Node input 'q' is no input.": "Invalid model. Node input 'q' is no input.",
		load + "Node (M_y) Op (MatMul) [ShapeInferenceError] Bad dimensions": "Bad dimensions " +
			"(operator MatMul, node M_y)",
		load + dir + "graph/model.cc:202 onnxruntime::Model::Model(onnx::ModelProto&&, " +
			"const onnxruntime::logging::Logger&) Unsupported model IR version: 99": "Unsupported model IR version: 99",
		run + "matmul_helper.h:177 Compute MatMul dimension mismatch": "MatMul dimension mismatch " +
			"(operator Add, node A)",
		run + dir + "ops.h:563 void onnxruntime::BroadcastIterator::Init(ptrdiff_t, ptrdiff_t) axis == 1 || " +
			"axis == largest was false. Attempting to broadcast. 2 by 3": "Attempting to broadcast. 2 by 3 " +
			"(operator Add, node A)",
		dir + "concatbase.h:118 onnxruntime::common::Status onnxruntime::ConcatBase::Prepare(K*, const V&) const " +
			"[with K = onnxruntime::OpKernelContext; V = absl::V<const T*, 5>] " + strings.Repeat("x", 700): "" +
			strings.Repeat("x", 600) + "…",
		dir + "a.cc:1 onnxruntime::L::L(const string&)::<lambda()> No locale": "No locale",
		dir + "a.cc:1 onnxruntime::L::<lambda(int)> No locale":                "No locale",
		"indices element out\n of data bounds":                                "indices element out of data bounds",
		dir + "a.cc:1 onnxruntime::F()":                                       "it gives no reason",
		"":                                                                    "it gives no reason",
		"Protobuf parsing failed.":                                            "Protobuf parsing failed.",
	} {
		if got := plainly(said); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
