// Package interop runs OpenAI's official client for Go against a lobstah
// router. It is a module of its own because the client is large and no product
// code needs it; the test in the folder above starts the router and this.
package interop

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func client(t *testing.T) openai.Client {
	t.Helper()
	url := os.Getenv("LOBSTAH_ROUTER_URL")
	if url == "" {
		t.Skip("LOBSTAH_ROUTER_URL is not set; run the tests in the folder above")
	}
	return openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("any"), option.WithMaxRetries(0))
}

func ask(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:     model,
		MaxTokens: openai.Int(8),
		Messages:  []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hello")},
	}
}

func TestChat(t *testing.T) {
	c := client(t)
	answer, err := c.Chat.Completions.New(t.Context(), ask("words"))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Choices[0].Message.Content == "" || answer.Usage.CompletionTokens == 0 {
		t.Errorf("answer %s", answer.RawJSON())
	}
}

func TestStream(t *testing.T) {
	c := client(t)
	stream := c.Chat.Completions.NewStreaming(t.Context(), ask("words"))
	var sum openai.ChatCompletionAccumulator
	for stream.Next() {
		if !sum.AddChunk(stream.Current()) {
			t.Fatalf("chunk does not fit: %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if sum.Choices[0].Message.Content == "" || sum.Choices[0].FinishReason == "" {
		t.Errorf("stream gave %+v", sum.Choices[0])
	}
}

func TestTools(t *testing.T) {
	c := client(t)
	params := ask("tool")
	params.MaxTokens = openai.Int(64)
	params.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
		Name:       "add",
		Parameters: openai.FunctionParameters{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}},
	})}
	answer, err := c.Chat.Completions.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if calls := answer.Choices[0].Message.ToolCalls; len(calls) != 1 || calls[0].Function.Name == "" {
		t.Errorf("tool calls %+v", calls)
	}
}

func TestUnknownModel(t *testing.T) {
	c := client(t)
	_, err := c.Chat.Completions.New(t.Context(), ask("nope"))
	if e, ok := errors.AsType[*openai.Error](err); !ok || e.StatusCode != 404 {
		t.Errorf("error %v; want the client's own error with status 404", err)
	}
}

func TestCancel(t *testing.T) {
	c := client(t)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		params := ask("slow")
		params.MaxTokens = openai.Int(2000)
		stream := c.Chat.Completions.NewStreaming(ctx, params, option.WithJSONSet("ignore_eos", true)) // it would go on for long
		if !stream.Next() {
			t.Fatal(stream.Err())
		}
		cancel()
		stream.Close()
	}
}
