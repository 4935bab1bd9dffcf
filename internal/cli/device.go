package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	agent "github.com/slipway-ml/slipway/internal/agent/enroll"
	"github.com/slipway-ml/slipway/internal/domain/enroll"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

func newDevice() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "device",
		Short: "Give devices their identity, list who has one, and take it away",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeviceEnroll(), newDeviceList(), newDeviceRevoke())
	return cmd
}

func newDeviceEnroll() *cobra.Command {
	var c connection
	var bundle string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "enroll FLEET NAME",
		Short: "Make a token, or a bundle, with which a device joins a fleet",
		Long: `Prints a token. The agent on the device spends it, once, with

  slipway-agent enroll --token TOKEN --dir DIR

which makes a key that never leaves the device, and gets a certificate and its
configuration. Whoever has the token can be that device, until it is spent, replaced by
another, or too old.

With --bundle the token is spent here, and a directory is written that an agent starts
from. It holds the device's private key: bring it over as you would a password.

The device is registered in the fleet if it is not, and an identity that it got this way
before ends.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := c.remote(cmd)
			if err != nil {
				return err
			}
			if ttl%time.Second != 0 {
				return errors.New("--ttl is in whole seconds")
			}
			var out slipway.CreateDeviceEnrollmentOutput
			answer, err := r.call(cmd.Context(), "CreateDeviceEnrollment", slipway.CreateDeviceEnrollmentInput{
				DeviceFleetName: &args[0], DeviceName: &args[1], TtlInSeconds: new(int32(min(ttl/time.Second, 1<<30))),
			}, &out)
			if err != nil {
				return err
			}
			switch {
			case bundle != "":
				return r.writeBundle(cmd, shape.Val(out.Token), bundle, c.json)
			case c.json:
				return printJSON(cmd.OutOrStdout(), answer)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), clean(shape.Val(out.Token)))
			return err
		},
	}
	c.bind(cmd)
	cmd.Flags().StringVar(&bundle, "bundle", "", "spend the token here and write the identity to this directory")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token is good, from 1m to 720h")
	return cmd
}

// writeBundle spends a token as the device would.
func (r *remote) writeBundle(cmd *cobra.Command, token, dir string, asJSON bool) error {
	t, err := enroll.ParseToken(token)
	if err != nil {
		return fmt.Errorf("what answers at %s is not a Slipway server: %w", r.url, err)
	}
	// The server says where devices reach it. From here it is where it was
	// reached just now; but over TLS, only its own certificate is believed.
	if strings.HasPrefix(r.url, "http://") {
		t.URL = r.url
	}
	if err := agent.Run(cmd.Context(), t.String(), dir); err != nil {
		return err
	}
	if asJSON {
		b, err := json.Marshal(map[string]string{"DeviceFleetName": t.Fleet, "DeviceName": t.Name, "Bundle": dir})
		if err != nil {
			return err
		}
		return printJSON(cmd.OutOrStdout(), b)
	}
	_, err = fmt.Fprintf(
		cmd.OutOrStdout(), "Wrote the identity of device %s of fleet %s to %s. It holds its private key.\n",
		clean(t.Name), clean(t.Fleet), dir,
	)
	return err
}

func newDeviceList() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "list FLEET",
		Short: "List the devices of a fleet and their certificates",
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := c.remote(cmd)
			if err != nil {
				return err
			}
			all := []slipway.DeviceIdentity{}
			in := slipway.ListDeviceIdentitiesInput{DeviceFleetName: &args[0]}
			for {
				var out slipway.ListDeviceIdentitiesOutput
				if _, err := r.call(cmd.Context(), "ListDeviceIdentities", in, &out); err != nil {
					return err
				}
				all = append(all, out.DeviceIdentities...)
				if in.NextToken = out.NextToken; in.NextToken == nil {
					break
				}
			}
			if !c.json {
				return showDevices(cmd.OutOrStdout(), all)
			}
			answer, err := json.Marshal(slipway.ListDeviceIdentitiesOutput{DeviceIdentities: all})
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), answer)
		},
	}
	c.bind(cmd)
	return cmd
}

// showDevices prints a line for each certificate of a device.
func showDevices(w io.Writer, all []slipway.DeviceIdentity) error {
	p := newPage(w)
	if len(all) == 0 {
		p.line("The fleet has no devices.")
		return p.print(w)
	}
	var rows []table.Row
	for _, d := range all {
		heard := "never"
		if d.LatestHeartbeat != nil {
			heard = clock(d.LatestHeartbeat)
		}
		name, thing := clean(shape.Val(d.DeviceName)), clean(shape.Val(d.IotThingName))
		if len(d.Certificates) == 0 {
			rows = append(rows, table.Row{name, thing, "none", "", "", heard})
		}
		for _, c := range d.Certificates {
			id := clean(shape.Val(c.CertificateId))
			rows = append(
				rows,
				table.Row{name, thing, id[:min(len(id), 12)], clean(shape.Val(c.Status)), clock(c.CreationTime), heard},
			)
		}
	}
	p.table(table.Row{"DEVICE", "THING", "CERTIFICATE", "STATUS", "CREATED", "HEARD OF"}, rows)
	return p.print(w)
}

func newDeviceRevoke() *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "revoke FLEET NAME",
		Short: "Take a device's identity away",
		Long: `Deactivates every certificate of a device and ends the token that is out for it. Its
sessions are dead at once. The device stays registered; to let it in again, enroll it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			show := func(w io.Writer, out slipway.RevokeDeviceOutput) error {
				_, err := fmt.Fprintf(w, "Device %s of fleet %s: %d certificates were active and are not any more.\n",
					args[1], args[0], len(out.CertificateIds))
				return err
			}
			in := slipway.RevokeDeviceInput{DeviceFleetName: &args[0], DeviceName: &args[1]}
			return ask(cmd, &c, "RevokeDevice", in, show)
		},
	}
	c.bind(cmd)
	return cmd
}
