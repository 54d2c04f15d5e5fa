// Command runtime stands in front of runc on machines that may not grant CAP_SYS_RESOURCE.
//
// There runc refuses every privileged container, every raised limit and every negative OOM score,
// because each of the three needs that capability. This program takes those three wishes out of the
// bundle before runc reads it and then becomes runc: nothing else of the container changes.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const unavailable = "CAP_SYS_RESOURCE"

// Where runc may be, the diverted original of a node image first.
var candidates = []string{
	"/usr/sbin/runc.real", "/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc",
}

func main() {
	runc, err := realRuntime()
	if err == nil {
		err = relax(os.Args[1:])
	}
	if err == nil {
		err = syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ())
	}
	fmt.Fprintln(os.Stderr, "runtime shim:", err)
	os.Exit(1)
}

// realRuntime is the first candidate that is not this program.
func realRuntime() (string, error) {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return "", err
	}
	for _, path := range candidates {
		if info, err := os.Stat(path); err == nil && !os.SameFile(self, info) {
			return path, nil
		}
	}
	return "", fmt.Errorf("no runc at any of %s", strings.Join(candidates, ", "))
}

// relax rewrites the file that describes the process runc is about to start, if this call starts one.
func relax(args []string) error {
	for _, arg := range args {
		switch arg {
		case "create", "run", "restore":
			bundle := option(args, "bundle", "b")
			if bundle == "" {
				bundle = "."
			}
			return rewrite(filepath.Join(bundle, "config.json"), func(spec map[string]any) {
				if process, ok := spec["process"].(map[string]any); ok {
					relaxProcess(process)
				}
			})
		case "exec":
			path := option(args, "process", "p")
			if path == "" {
				return nil
			}
			return rewrite(path, relaxProcess)
		}
	}
	return nil
}

// option is the value of --long or -short, in either of the two ways to write it.
func option(args []string, long, short string) string {
	for i, arg := range args {
		for _, name := range []string{"--" + long, "-" + long, "-" + short} {
			if arg == name && i+1 < len(args) {
				return args[i+1]
			}
			if value, found := strings.CutPrefix(arg, name+"="); found {
				return value
			}
		}
	}
	return ""
}

func relaxProcess(process map[string]any) {
	delete(process, "rlimits")
	if score, ok := process["oomScoreAdj"].(json.Number); ok && strings.HasPrefix(score.String(), "-") {
		delete(process, "oomScoreAdj")
	}
	sets, _ := process["capabilities"].(map[string]any)
	for name, value := range sets {
		granted, _ := value.([]any)
		kept := make([]any, 0, len(granted))
		for _, capability := range granted {
			if capability != unavailable {
				kept = append(kept, capability)
			}
		}
		sets[name] = kept
	}
}

// rewrite changes a JSON file in place, keeping numbers as they are written.
func rewrite(path string, change func(map[string]any)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.UseNumber()
	var content map[string]any
	if err := decoder.Decode(&content); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	change(content)
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
