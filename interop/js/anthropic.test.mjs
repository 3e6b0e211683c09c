// Anthropic's official client for JavaScript against a lobstah router.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import Anthropic from '@anthropic-ai/sdk'

const client = new Anthropic({ baseURL: process.env.LOBSTAH_ROUTER_URL, apiKey: 'any', maxRetries: 0 })
const ask = { model: 'words', max_tokens: 8, messages: [{ role: 'user', content: 'hello' }] }

test('answers a message', async () => {
  const message = await client.messages.create(ask)
  assert.equal(message.role, 'assistant')
  assert.ok(message.content[0].text.length > 0)
  assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0)
})

test('streams a message to its end', async () => {
  const stream = client.messages.stream(ask)
  const types = []
  stream.on('streamEvent', (event) => types.push(event.type))
  const message = await stream.finalMessage()
  assert.ok(message.content[0].text.length > 0)
  assert.equal(types.at(-1), 'message_stop')
})

test('counts tokens', async () => {
  const { input_tokens } = await client.messages.countTokens({ model: ask.model, messages: ask.messages })
  assert.ok(input_tokens > 0)
})

test('an unknown model is the error class that the client knows', async () => {
  await assert.rejects(client.messages.create({ ...ask, model: 'nope' }), Anthropic.NotFoundError)
})
