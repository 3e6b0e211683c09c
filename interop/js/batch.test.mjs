// OpenAI's official client for JavaScript: files and batches.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import OpenAI, { toFile } from 'openai'

const client = new OpenAI({ baseURL: `${process.env.LOBSTAH_ROUTER_URL}/v1`, apiKey: 'any', maxRetries: 0 })

const line = (id, body) => JSON.stringify({ custom_id: id, method: 'POST', url: '/v1/chat/completions', body }) + '\n'
const chat = (content, more) => ({ model: 'words', messages: [{ role: 'user', content }], max_tokens: 4, temperature: 0, ...more })

const upload = (text) => toFile(Buffer.from(text), 'requests.jsonl').then((file) => client.files.create({ file, purpose: 'batch' }))

async function ended(id) {
  for (;;) {
    const batch = await client.batches.retrieve(id)
    if (['completed', 'failed', 'expired', 'cancelled'].includes(batch.status)) return batch
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

const lines = async (id) => (await (await client.files.content(id)).text()).trim().split('\n').map((text) => JSON.parse(text))

test('answers a batch, and says which lines failed', async () => {
  let text = ''
  for (let i = 0; i < 6; i++) text += line(`line-${i}`, chat(`hello ${i}`))
  text += line('bad', chat('hello', { max_tokens: 'many' }))
  const file = await upload(text)
  assert.equal(file.object, 'file')
  assert.equal(file.bytes, Buffer.byteLength(text))
  assert.equal(file.purpose, 'batch')
  assert.equal(file.filename, 'requests.jsonl')
  assert.deepEqual(await client.files.retrieve(file.id), file)
  assert.equal((await client.files.waitForProcessing(file.id)).status, 'processed')

  const created = await client.batches.create({
    input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h', metadata: { night: 'one' },
  })
  assert.equal(created.object, 'batch')
  assert.equal(created.status, 'validating')
  assert.equal(created.expires_at - created.created_at, 86400)
  const batch = await ended(created.id)
  assert.equal(batch.status, 'completed', JSON.stringify(batch))
  assert.deepEqual(batch.request_counts, { total: 7, completed: 6, failed: 1 })
  assert.deepEqual(batch.metadata, { night: 'one' })
  assert.ok(batch.usage.output_tokens > 0 && batch.usage.total_tokens === batch.usage.input_tokens + batch.usage.output_tokens)

  const answers = await lines(batch.output_file_id)
  assert.deepEqual(answers.map((a) => a.custom_id).sort(), [0, 1, 2, 3, 4, 5].map((i) => `line-${i}`))
  for (const answer of answers) {
    assert.match(answer.id, /^batch_req_/)
    assert.equal(answer.error, null)
    assert.equal(answer.response.status_code, 200)
    assert.ok(answer.response.request_id)
    assert.equal(answer.response.body.object, 'chat.completion')
    assert.ok(answer.response.body.choices[0].message.content.length > 0)
  }
  const [failed] = await lines(batch.error_file_id)
  assert.equal(failed.custom_id, 'bad')
  assert.equal(failed.error, null)
  assert.ok(failed.response.status_code >= 400)
  assert.ok(failed.response.body.error.message.length > 0)

  assert.equal((await client.files.delete(file.id)).deleted, true)
  await assert.rejects(client.files.retrieve(file.id), (e) => e instanceof OpenAI.NotFoundError)
})

test('names the lines of an input that is wrong', async () => {
  const file = await upload(line('a', chat('hello')) + 'this is no JSON\n' + line('a', chat('hello')))
  const { id } = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' })
  const batch = await ended(id)
  assert.equal(batch.status, 'failed')
  assert.deepEqual(batch.errors.data.map(({ code, line }) => ({ code, line })), [
    { code: 'invalid_json_line', line: 2 }, { code: 'duplicate_custom_id', line: 3 },
  ])
})

test('cancels', async () => {
  let text = ''
  for (let i = 0; i < 50; i++) text += line(`line-${i}`, chat('hello', { model: 'slow', max_tokens: 40 }))
  const file = await upload(text)
  const { id } = await client.batches.create({ input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' })
  for (let batch; batch?.status !== 'in_progress';) batch = await client.batches.retrieve(id)
  assert.equal((await client.batches.cancel(id)).status, 'cancelling')
  const batch = await ended(id)
  assert.equal(batch.status, 'cancelled')
  const { completed, failed, total } = batch.request_counts
  assert.equal(total, 50)
  assert.equal(completed + failed, total)
  const errors = await lines(batch.error_file_id)
  assert.equal(errors.length, failed)
  assert.ok(errors.every((e) => e.error.code === 'batch_cancelled' && e.response === null))
  await assert.rejects(client.batches.cancel(id), (e) => e instanceof OpenAI.BadRequestError)
})

test('pages through lists', async () => {
  const made = []
  for (let i = 0; i < 3; i++) made.unshift((await upload(`${i}\n`)).id)
  const files = []
  for await (const file of client.files.list({ limit: 1, purpose: 'batch' })) files.push(file.id)
  assert.deepEqual(files.slice(0, 3), made)
  const batches = []
  for await (const batch of client.batches.list({ limit: 1 })) batches.push(batch.id)
  assert.equal(new Set(batches).size, batches.length)
  assert.ok(batches.length >= 3)
  for (const id of made) await client.files.delete(id)
})

test('refuses with its own error classes', async () => {
  await assert.rejects(client.batches.create({ input_file_id: 'file-none', endpoint: '/v1/chat/completions', completion_window: '24h' }),
    (e) => e instanceof OpenAI.BadRequestError && e.param === 'input_file_id')
  await assert.rejects(client.batches.retrieve('batch_none'), (e) => e instanceof OpenAI.NotFoundError)
  await assert.rejects(client.files.create({ file: await toFile(Buffer.from('x'), 'a.jsonl'), purpose: 'fine-tune' }),
    (e) => e instanceof OpenAI.BadRequestError && e.param === 'purpose')
})
