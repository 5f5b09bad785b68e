package rig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"xvsock/image/rig/wire"
)

// Send copies a file from here to dom0, with its permissions. A file that is
// there already is replaced whole, also while it is being run.
func (h *Host) Send(ctx context.Context, from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("send a file to dom0: %w", err)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("send a file to dom0: %w", err)
	}
	return h.WriteFile(ctx, to, data, info.Mode().Perm())
}

// WriteFile writes data to a file in dom0 and makes its directory.
func (h *Host) WriteFile(ctx context.Context, to string, data []byte, perm os.FileMode) error {
	request := wire.Put{Path: to, Mode: uint32(perm.Perm())}
	p, err := h.begin(fmt.Sprintf("(write %s, %d bytes)", to, len(data)), nil, wire.KindPut, request)
	if err == nil {
		err = h.feed(p.id, wire.KindData, data)
	}
	if err == nil {
		_, err = p.Wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("write %s in dom0: %w", to, err)
	}
	return nil
}

// sendOnce sends a file that several guests may boot from and gives its path
// in dom0. The same content is sent once.
func (h *Host) sendOnce(ctx context.Context, from string) (string, error) {
	data, err := os.ReadFile(from)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	key := hex.EncodeToString(sum[:8])
	return h.sent.once(ctx, key, func() (string, error) {
		to := path.Join("/boot/guest", key+"-"+safeName(filepath.Base(from)))
		return to, h.WriteFile(ctx, to, data, 0o644)
	})
}

// sentFiles is what was sent to dom0 once and for all. It may be used from many
// goroutines.
type sentFiles struct {
	turn chan struct{} // full while a file is sent: two would write the same one
	at   map[string]string
}

func newSentFiles() sentFiles {
	return sentFiles{turn: make(chan struct{}, 1), at: make(map[string]string)}
}

// once gives the path of the content with that key. The first caller sends it, the
// others wait for that; after an error the next one sends again.
func (s sentFiles) once(ctx context.Context, key string, send func() (path string, err error)) (string, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	defer func() { <-s.turn }()
	if to, ok := s.at[key]; ok {
		return to, nil
	}
	to, err := send()
	if err != nil {
		return "", err
	}
	s.at[key] = to
	return to, nil
}
