// Command genproto makes Go code of the .proto files under proto/. It needs
// nothing but Go: the compiler is a Go library, and the code generators are
// tools of this module, at the versions that go.mod names.
//
// usage (from the module's root): go -C tools run ./genproto
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// module is what the paths of generated packages begin with, and stands for
// the folder above this module's.
const module = "github.com/slipway-ml/slipway"

func main() {
	if err := run(context.Background(), ".."); err != nil {
		fmt.Fprintln(os.Stderr, "genproto:", err)
		os.Exit(1)
	}
}

// run compiles the .proto files of the repository at root and writes their Go
// code to the packages that they name.
func run(ctx context.Context, root string) error {
	paths, err := filepath.Glob(filepath.Join(root, "proto", "*", "*.proto"))
	if err != nil {
		return err
	}
	for i, p := range paths {
		if paths[i], err = filepath.Rel(filepath.Join(root, "proto"), p); err != nil {
			return err
		}
	}
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{filepath.Join(root, "proto")}},
		SourceInfoMode: protocompile.SourceInfoStandard, // comments go into the code
	}
	files, err := compiler.Compile(ctx, paths...)
	if err != nil {
		return err
	}
	for _, f := range files {
		for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
			if err := generate(ctx, root, plugin, f); err != nil {
				return fmt.Errorf("%s with %s: %w", f.Path(), plugin, err)
			}
		}
	}
	return nil
}

// generate lets one plugin write the code of one file.
func generate(ctx context.Context, root, plugin string, f protoreflect.FileDescriptor) error {
	request, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{f.Path()},
		Parameter:      proto.String("module=" + module),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{protoutil.ProtoFromFileDescriptor(f)},
	})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(request), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &response); err != nil {
		return err
	}
	if response.GetError() != "" {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, made := range response.GetFile() {
		// Every generated file of the repository ends in _gen.go.
		name := strings.TrimSuffix(made.GetName(), ".pb.go") + "_gen.go"
		if err := os.WriteFile(filepath.Join(root, name), []byte(made.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
