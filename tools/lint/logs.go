package main

import (
	"go/ast"
	"go/constant"
	"go/types"
	"unicode"

	"golang.org/x/tools/go/analysis"
)

// logs finds log messages that are put together, or begin with a capital: what
// differs from record to record belongs into attributes, where it can be
// searched for.
var logs = &analysis.Analyzer{
	Name: "logs",
	Doc:  "messages of log/slog are constant, and begin with a small letter",
	Run:  runLogs,
}

// messageAt says which argument of a logger's method is the message.
var messageAt = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1, "Log": 2, "LogAttrs": 2,
}

func runLogs(pass *analysis.Pass) (any, error) {
	for _, file := range pass.Files {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			f, ok := pass.TypesInfo.Uses[method.Sel].(*types.Func)
			if !ok || f.Pkg() == nil || f.Pkg().Path() != "log/slog" {
				return true
			}
			at, ok := messageAt[f.Name()]
			if !ok || len(call.Args) <= at {
				return true
			}
			message := call.Args[at]
			switch v := pass.TypesInfo.Types[message].Value; {
			case v == nil:
				pass.Reportf(message.Pos(), "the message of a log record is a constant; put what differs into attributes")
			case begins(constant.StringVal(v), unicode.IsUpper):
				pass.Reportf(message.Pos(), "the message of a log record begins with a small letter")
			}
			return true
		})
	}
	return nil, nil
}

// begins reports whether a text begins with one such letter, and no acronym.
func begins(text string, such func(rune) bool) bool {
	letters := []rune(text)
	return len(letters) > 1 && such(letters[0]) && !such(letters[1])
}
