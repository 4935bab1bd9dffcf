package device

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// Machine is what the device is, in the words of packages.
type Machine struct {
	OS, Arch     string   // LINUX; X86_64, ARM64, ARM_EABIHF; "" takes packages for any
	Accelerators []string // such as NVIDIA
	Devices      []string // TargetDevice names that it goes by, besides those of its processor
	Runtimes     []string // that an engine is there for; none: any, the engine says
}

// Here returns the machine that the program runs on.
func Here() Machine {
	arch := map[string]string{"amd64": "X86_64", "386": "X86", "arm64": "ARM64", "arm": "ARM_EABIHF"}
	return Machine{OS: strings.ToUpper(runtime.GOOS), Arch: arch[runtime.GOARCH]}
}

// chips tells which processor a TargetDevice has, by the beginning of its name.
var chips = []struct{ prefix, arch string }{
	{"ml_m6g", "ARM64"},
	{"ml_c6g", "ARM64"},
	{"ml_", "X86_64"},
	{"jetson_", "ARM64"},
	{"rasp3b", "ARM_EABIHF"},
	{"rasp4b", "ARM_EABIHF"},
	{"imx8", "ARM64"},
	{"deeplens", "X86_64"},
	{"rk3399", "ARM64"},
	{"rk3288", "ARM_EABIHF"},
	{"aisage", "ARM64"},
	{"sbe_c", "X86_64"},
	{"amba_", "ARM64"},
	{"jacinto_tda4vm", "ARM64"},
	{"sitara_am57x", "ARM_EABIHF"},
}

// checkFits says why a package is not for this machine.
func (m Machine) checkFits(md bundle.Metadata) error {
	t := md.Target
	wrong := func(what, wants, has string) error {
		return &bundle.Error{Reason: fmt.Sprintf("The package is for %s %s; this device has %s.", what, wants, has)}
	}
	differs := func(wants, has string) bool { return wants != "" && has != "" && !strings.EqualFold(wants, has) }
	switch {
	case differs(t.OS, m.OS):
		return wrong("the system", t.OS, m.OS)
	case differs(t.Arch, m.Arch):
		return wrong("the architecture", t.Arch, m.Arch)
	case t.Accelerator != "" && !slices.Contains(m.Accelerators, t.Accelerator):
		return wrong("the accelerator", t.Accelerator, "none of that kind")
	case t.Device != "" && !m.is(t.Device):
		return wrong("the device", t.Device, m.OS+" on "+m.Arch)
	case len(m.Runtimes) > 0 && !slices.Contains(m.Runtimes, md.Runtime):
		return wrong("the runtime", md.Runtime, strings.Join(m.Runtimes, ", "))
	}
	return nil
}

func (m Machine) is(device string) bool {
	if m.Arch == "" || slices.Contains(m.Devices, device) {
		return true
	}
	for _, c := range chips {
		if strings.HasPrefix(device, c.prefix) {
			return c.arch == m.Arch && (m.OS == "" || m.OS == "LINUX")
		}
	}
	return false
}
