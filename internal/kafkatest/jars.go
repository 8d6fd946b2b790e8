package kafkatest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Version is the Apache Kafka that Start runs.
const Version = "4.1.1"

//go:embed pom.xml
var pom []byte

const install = "a real Kafka broker needs Java 17 or newer, and Maven the first time (Debian: apt-get install openjdk-17-jre-headless maven)"

// jars returns the folder with the broker's jars, which Maven fills the first
// time. Two processes may do so at once: each fills a folder of its own, and
// the first to rename it wins.
func jars(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "promopool", "kafka-libs-"+Version)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}

	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, install)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "kafka-libs-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	project := filepath.Join(tmp, "pom.xml")
	if err := os.WriteFile(project, pom, 0o644); err != nil {
		return "", err
	}

	libs := filepath.Join(tmp, "libs")
	cmd := exec.CommandContext(ctx, mvn, "--quiet", "--batch-mode", "--file", project, "-Dkafka.version="+Version,
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+libs)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch Kafka %s with Maven: %w\n%s", Version, err, out)
	}
	if err := os.Rename(libs, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}
