package cli

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

func newSigning() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "signing",
		Short: "Keep the keys that sign model packages",
		Long: `Model packages are signed by a key of the server's own, under a root certificate that
devices trust. Root and key are made at their first use and kept in the server's database;
their private halves never leave it.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSigningCreate(), newSigningList(), newSigningShow(), newSigningExport(), newSigningRotate())
	return cmd
}

func newSigningCreate() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use: "create", Short: "Make the root and the first signing key, if there are none yet",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(cmd, &c, "CreateSigningKey", slipway.CreateSigningKeyInput{}, showSigning)
		},
	}
	c.bind(cmd)
	return cmd
}

func newSigningList() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use: "list", Short: "List the roots and the signing keys",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(cmd, &c, "ListSigningKeys", slipway.ListSigningKeysInput{}, showSigning)
		},
	}
	c.bind(cmd)
	return cmd
}

func showSigning(w io.Writer, s slipway.SigningKeysOutput) error {
	if len(s.Keys) == 0 {
		_, err := fmt.Fprintln(
			w, "There is no signing key yet: the first package, or 'slipway signing create', makes one.",
		)
		return err
	}
	p := newPage(w)
	var rows []table.Row
	for _, r := range s.Roots {
		state := "trusted"
		if !shape.Val(r.Trusted) {
			state = "given up"
		}
		rows = append(
			rows, table.Row{shape.Val(r.RootId), state, clock(r.CreationTime), fingerprint(shape.Val(r.Certificate))},
		)
	}
	p.table(table.Row{"ROOT", "STATE", "MADE", "SHA-256"}, rows)
	p.line("")
	rows = nil
	for _, k := range s.Keys {
		rows = append(rows, table.Row{
			shape.Val(k.KeyNumber), strings.ToLower(shape.Val(k.Status)), clock(k.CreationTime), shape.Val(k.RootId),
			fingerprint(shape.Val(k.Certificate)),
		})
	}
	p.table(table.Row{"KEY", "STATE", "MADE", "ROOT", "SHA-256"}, rows, "KEY")
	return p.print(w)
}

// fingerprint is the SHA-256 of a certificate, shortened.
func fingerprint(certificate string) string {
	p, _ := pem.Decode([]byte(certificate))
	if p == nil {
		return "?"
	}
	sum := sha256.Sum256(p.Bytes)
	return hex.EncodeToString(sum[:12])
}

func newSigningShow() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "show [NUMBER]",
		Short: "Show a signing key and its certificate; the one in use unless a number is given",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := c.remote(cmd)
			if err != nil {
				return err
			}
			var out slipway.SigningKeysOutput
			if _, err := r.call(cmd.Context(), "ListSigningKeys", slipway.ListSigningKeysInput{}, &out); err != nil {
				return err
			}
			k, err := pickKey(out.Keys, args)
			if err != nil {
				return err
			}
			if c.json {
				answer, err := json.Marshal(k)
				if err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), answer)
			}
			return showKey(cmd.OutOrStdout(), k)
		},
	}
	c.bind(cmd)
	return cmd
}

func pickKey(keys []slipway.SigningKey, args []string) (k slipway.SigningKey, err error) {
	if len(keys) == 0 {
		return k, errors.New("there is no signing key yet; 'slipway signing create' makes one")
	}
	if len(args) == 0 {
		return keys[len(keys)-1], nil
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return k, fmt.Errorf("%q is not the number of a key", args[0])
	}
	for _, k := range keys {
		if shape.Val(k.KeyNumber) == n {
			return k, nil
		}
	}
	return k, fmt.Errorf("there is no signing key %d", n)
}

func showKey(w io.Writer, k slipway.SigningKey) error {
	p := newPage(w)
	p.facts([2]string{"Key", strconv.FormatInt(shape.Val(k.KeyNumber), 10)},
		[2]string{"State", strings.ToLower(shape.Val(k.Status))},
		[2]string{"Made", clock(k.CreationTime)}, [2]string{"Root", shape.Val(k.RootId)})
	if b, _ := pem.Decode([]byte(shape.Val(k.Certificate))); b != nil {
		if cert, err := x509.ParseCertificate(b.Bytes); err == nil {
			p.facts(
				[2]string{"Subject", clean(cert.Subject.String())}, [2]string{"Issuer", clean(cert.Issuer.String())},
				[2]string{"Algorithm", cert.PublicKeyAlgorithm.String()},
			)
		}
	}
	p.line("")
	p.line("%s", strings.TrimSpace(shape.Val(k.Certificate)))
	return p.print(w)
}

func newSigningExport() *cobra.Command {
	var c connection
	var dir string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the root certificates that devices have to trust, as REGION.pem",
		Long: `Writes the trusted root certificates into one file, REGION.pem, readable by all and writable
by nobody: what goes into a device's directory of root certificates
(sagemaker_edge_core_root_certs_path).`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(cmd, &c, "CreateSigningKey", slipway.CreateSigningKeyInput{}, func(
				w io.Writer, s slipway.SigningKeysOutput,
			) error {
				file, err := exportRoots(dir, s)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(w, file)
				return err
			})
		},
	}
	c.bind(cmd)
	cmd.Flags().StringVar(&dir, "dir", ".", "directory to write to")
	return cmd
}

func exportRoots(dir string, s slipway.SigningKeysOutput) (file string, err error) {
	var roots strings.Builder
	for _, r := range s.Roots {
		if shape.Val(r.Trusted) {
			roots.WriteString(shape.Val(r.Certificate))
		}
	}
	region := shape.Val(s.Region)
	if region == "" || region != filepath.Base(region) || region[0] == '.' {
		return "", errors.New("the server named no region")
	}
	file = filepath.Join(dir, region+".pem")
	// Under a name of its own first: an agent may look at any moment.
	tmp, err := os.CreateTemp(dir, "."+region+"-")
	if err != nil {
		return "", err
	}
	_, err = tmp.WriteString(roots.String())
	err = errors.Join(err, tmp.Chmod(0o444), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(tmp.Name()))
	}
	return file, nil
}

func newSigningRotate() *cobra.Command {
	var c connection
	var in struct{ revoke, newRoot bool }
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Sign with a new key from now on",
		Long: `Makes a new signing key, which signs every package from now on, and forgets the private
half of the old one. Packages that were signed before stay good.

  --revoke    the keys before this one are not to be trusted any more: a device refuses
              their packages as soon as it has accepted one that the new key signed, for
              each package says from which key number on packages are good
  --new-root  the new key is one of a new root. Devices need it before they accept the
              key: 'slipway signing export' and 'slipway device enroll' hand it out beside
              the old one. With --revoke the old root is no longer handed out; a device
              stops trusting it when its REGION.pem is replaced`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(
				cmd, &c, "RotateSigningKey", slipway.RotateSigningKeyInput{Revoke: &in.revoke, NewRoot: &in.newRoot},
				showSigning,
			)
		},
	}
	c.bind(cmd)
	cmd.Flags().BoolVar(&in.revoke, "revoke", false, "have devices refuse packages of the keys before")
	cmd.Flags().BoolVar(&in.newRoot, "new-root", false, "make a new root, too")
	return cmd
}
