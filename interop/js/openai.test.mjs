// OpenAI's official client for JavaScript against a lobstah router.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import OpenAI from 'openai'

const client = new OpenAI({ baseURL: `${process.env.LOBSTAH_ROUTER_URL}/v1`, apiKey: 'any', maxRetries: 0 })
const messages = [{ role: 'user', content: 'hello' }]

test('lists the merged models', async () => {
  const ids = (await client.models.list()).data.map((model) => model.id)
  for (const id of ['words', 'tool', 'slow', 'embed']) assert.ok(ids.includes(id), `${id} is missing from ${ids}`)
})

test('answers a chat and names the peer', async () => {
  const { data, response } = await client.chat.completions
    .create({ model: 'words', messages, max_tokens: 8, temperature: 0 })
    .withResponse()
  assert.ok(data.choices[0].message.content.length > 0)
  assert.ok(['stop', 'length'].includes(data.choices[0].finish_reason))
  assert.ok(data.usage.prompt_tokens > 0 && data.usage.completion_tokens > 0)
  assert.ok(response.headers.get('x-request-id'))
  assert.ok(response.headers.get('x-lobstah-peer'))
})

test('streams the same text without usage unless asked', async () => {
  const ask = { model: 'words', messages, max_tokens: 8, temperature: 0 }
  const whole = await client.chat.completions.create(ask)
  let text = ''
  let finish
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
    assert.ok(!chunk.usage, 'usage was not asked for')
    assert.equal(chunk.choices.length, 1)
    text += chunk.choices[0].delta.content ?? ''
    finish = chunk.choices[0].finish_reason ?? finish
  }
  assert.equal(text, whole.choices[0].message.content)
  assert.equal(finish, whole.choices[0].finish_reason)
})

test('streams usage when asked', async () => {
  let usage
  const stream = await client.chat.completions.create({
    model: 'words', messages, max_tokens: 8, stream: true, stream_options: { include_usage: true },
  })
  for await (const chunk of stream) usage = chunk.usage ?? usage
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0)
})

test('passes tool calls on, whole and in pieces', async () => {
  const ask = {
    model: 'tool', messages, max_tokens: 64, temperature: 0,
    tools: [{ type: 'function', function: { name: 'add', parameters: { type: 'object', properties: { city: { type: 'string' } } } } }],
  }
  const whole = await client.chat.completions.create(ask)
  const call = whole.choices[0].message.tool_calls[0]
  assert.equal(whole.choices[0].finish_reason, 'tool_calls')
  assert.equal(typeof JSON.parse(call.function.arguments), 'object')
  let name = ''
  let args = ''
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
    for (const piece of chunk.choices[0]?.delta.tool_calls ?? []) {
      name += piece.function.name ?? ''
      args += piece.function.arguments ?? ''
    }
  }
  assert.equal(name, call.function.name)
  assert.deepEqual(JSON.parse(args), JSON.parse(call.function.arguments))
})

test('answers completions, embeddings and responses', async () => {
  const completion = await client.completions.create({ model: 'words', prompt: 'the', max_tokens: 4 })
  assert.ok(completion.choices[0].text.length > 0)
  const embedding = await client.embeddings.create({ model: 'embed', input: 'hello', encoding_format: 'float' })
  assert.ok(embedding.data[0].embedding.length > 0)
  const response = await client.responses.create({ model: 'words', input: 'hello', max_output_tokens: 8 })
  assert.ok(response.output_text.length > 0)
})

test('streams responses', async () => {
  const types = []
  for await (const event of await client.responses.create({ model: 'words', input: 'hello', max_output_tokens: 8, stream: true })) {
    types.push(event.type)
  }
  assert.ok(types.includes('response.output_text.delta'))
  assert.equal(types.at(-1), 'response.completed')
})

test('an unknown model is the error class that the client knows', async () => {
  await assert.rejects(client.chat.completions.create({ model: 'wrods', messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError, error)
    assert.match(error.message, /words/)
    return true
  })
})

test('bad JSON values are a bad request', async () => {
  await assert.rejects(client.chat.completions.create({ model: 5, messages }), OpenAI.BadRequestError)
})

test('leaving a stream stops the engine', async () => {
  const ask = { model: 'slow', messages, max_tokens: 2000, ignore_eos: true, stream: true }
  for (let round = 0; round < 3; round++) {
    // The model would go on for long and its engine has one slot: only an engine
    // that was stopped can begin the next round soon.
    const controller = new AbortController()
    const stream = await client.chat.completions.create(ask, { signal: controller.signal, timeout: 60_000 })
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta.content) break
    }
    controller.abort()
  }
})
