package ollama

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"lobstah/grid/engine/openaiapi"
)

// ask reads one model's POST /api/show.
func ask(ctx context.Context, c *openaiapi.Client, name string) (facts, bool) {
	var answer struct {
		Parameters   string         `json:"parameters"`
		Info         map[string]any `json:"model_info"`
		Capabilities []string       `json:"capabilities"` // since 0.6.4
	}
	if ctx.Err() != nil || c.JSON(ctx, http.MethodPost, "/api/show", map[string]string{"model": name}, &answer) != nil {
		return facts{}, false
	}
	family, _ := answer.Info["general.architecture"].(string)
	trained, _ := answer.Info[family+".context_length"].(float64)
	return facts{parameter(answer.Parameters, "num_ctx"), int(trained), answer.Capabilities}, true
}

// parameter finds a number in the lines of a Modelfile's parameters: a name,
// spaces, a value. It is 0 when there is none.
func parameter(text, name string) int {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == name {
			n, _ := strconv.Atoi(fields[1]) // a value that is no number is as good as none
			return n
		}
	}
	return 0
}
