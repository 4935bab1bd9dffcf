// Package a breaks the rules that lint has of its own.
package a

import (
	"context"
	"log/slog"
)

func records(ctx context.Context, log *slog.Logger, what string) {
	log.Info("traffic moved", "what", what)
	log.InfoContext(ctx, "TLS failed")
	log.WarnContext(ctx, "traffic of "+what)           // want "is a constant"
	log.Log(ctx, slog.LevelError, what)                // want "is a constant"
	log.Error("Traffic moved")                         // want "small letter"
	log.LogAttrs(ctx, slog.LevelInfo, "Traffic moved") // want "small letter"
}
