package openaiapi

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// shortName makes a model's name of a path to its file; other names stay.
func shortName(name string) string {
	slashed := strings.ReplaceAll(name, `\`, "/")
	drive := len(slashed) > 2 && slashed[1] == ':' && slashed[2] == '/'
	if !drive && !strings.HasPrefix(slashed, "/") {
		return name
	}
	return strings.TrimSuffix(path.Base(slashed), ".gguf")
}

// countText writes a number of parameters as people do: 8.0B, 366K.
func countText(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1fB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%dK", (n+500)/1e3)
	case n > 0:
		return fmt.Sprint(n)
	}
	return ""
}

var sizes = map[string]string{"Small": "S", "Medium": "M", "Large": "L"}

// quantization shortens llama.cpp's names of file types: "Q4_K - Medium" is
// Q4_K_M, "all F32" is F32.
func quantization(fileType string) string {
	text := strings.TrimSuffix(strings.TrimPrefix(fileType, "all "), " (guessed)")
	base, size, found := strings.Cut(text, " - ")
	if !found {
		return text
	}
	if letter, known := sizes[strings.TrimSpace(size)]; known {
		return base + "_" + letter
	}
	return base
}

var quantizationPattern = regexp.MustCompile(`(?i)(?:^|[-._])((?:I?Q[1-8](?:_[0-9A-Z]+)+)|BF16|F16|F32|MXFP4)(?:[-._]|$)`)

// quantizationInName finds it where people write it into a file's name.
func quantizationInName(file string) string {
	if found := quantizationPattern.FindStringSubmatch(file); found != nil {
		return strings.ToUpper(found[1])
	}
	return ""
}
