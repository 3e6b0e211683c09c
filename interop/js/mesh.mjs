// The official clients of MCP and A2A against a real node of the mesh. Go starts
// two nodes and says where they are; see mesh_test.go.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';

import { ClientFactory, ClientFactoryOptions, DefaultAgentCardResolver, JsonRpcTransportFactory } from '@a2a-js/sdk/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { CLAWMATRIX, HOME_NODE, HEARD, MCP_URL, A2A_URL, API_TOKEN } = process.env;

async function mcp(transport) {
  const client = new Client({ name: 'interop', version: '1' });
  await client.connect(transport);
  return client;
}

const stdio = () => mcp(new StdioClientTransport({ command: CLAWMATRIX, args: ['--home', HOME_NODE, 'mcp'] }));

async function call(client, name, args, onprogress) {
  const result = await client.callTool({ name, arguments: args }, undefined, { onprogress });
  return { failed: Boolean(result.isError), text: result.content.map((part) => part.text).join('') };
}

test('MCP: the seven tools', async () => {
  const client = await stdio();
  const names = (await client.listTools()).tools.map((tool) => tool.name);
  assert.deepEqual(names.toSorted(), ['cluster_exec', 'cluster_handoff', 'cluster_peers', 'cluster_read', 'cluster_send', 'cluster_tool', 'cluster_write']);

  const peers = JSON.parse((await call(client, 'cluster_peers', {})).text);
  assert.equal(peers[0].name, 'office');
  assert.equal(peers[0].agents[0].id, 'shouter');

  const ran = await call(client, 'cluster_exec', { node: 'office', command: 'echo here' });
  assert.equal(ran.failed, false, ran.text);
  assert.match(ran.text, /^exec on office .*\nhere\n/s);

  const denied = await call(client, 'cluster_write', { node: 'office', path: 'x', content: 'y' });
  assert.equal(denied.failed, true);
  assert.match(denied.text, /write/);

  const listed = JSON.parse((await call(client, 'cluster_tool', { node: 'office' })).text);
  assert.deepEqual(listed.tools.map((tool) => tool.name).toSorted(), ['exec', 'read']);
  await client.close();
});

test('MCP: a hand-off with progress, a message, and an agent that is not there', async () => {
  const client = await stdio();
  const heard = [];
  const listen = (p) => {
    heard.push(p.message);
    if (/QUIET WORDS/.test(heard.join(''))) writeFileSync(HEARD, ''); // for which the agent waits
  };
  const done = await call(client, 'cluster_handoff', { target: 'patient', task: 'quiet words' }, listen);
  assert.equal(done.failed, false, done.text);
  assert.match(done.text, /^patient@office answers:\n.*QUIET WORDS/s);
  assert.match(heard.join(''), /QUIET WORDS/);

  const sent = await call(client, 'cluster_send', { target: 'shouter@office', message: 'note' });
  assert.deepEqual(sent, { failed: false, text: 'shouter@office has the message' });

  const nobody = await call(client, 'cluster_handoff', { target: 'nobody', task: 'x' });
  assert.equal(nobody.failed, true);
  assert.match(nobody.text, /no node of the mesh offers nobody/);
  await client.close();
});

test('MCP over HTTP, behind the token', async () => {
  const at = (token) => new StreamableHTTPClientTransport(new URL(MCP_URL), { requestInit: { headers: { authorization: `Bearer ${token}` } } });
  const client = await mcp(at(API_TOKEN));
  assert.equal((await client.listTools()).tools.length, 7);
  await client.close();
  await assert.rejects(mcp(at('wrong')), /401|token/);
});

const message = (text) => ({
  messageId: crypto.randomUUID(), role: 1, parts: [{ content: { $case: 'text', value: text } }],
  contextId: '', taskId: '', extensions: [], referenceTaskIds: [],
});

async function a2a(agent) {
  const fetchImpl = (url, init = {}) => {
    const headers = new Headers(init.headers);
    headers.set('authorization', `Bearer ${API_TOKEN}`);
    return fetch(url, { ...init, headers });
  };
  const factory = new ClientFactory(ClientFactoryOptions.createFrom(ClientFactoryOptions.default, {
    transports: [new JsonRpcTransportFactory({ fetchImpl })], cardResolver: new DefaultAgentCardResolver({ fetchImpl }),
  }));
  return factory.createFromUrl(`${A2A_URL}/${agent}/`);
}

const COMPLETED = 3;
const FAILED = 4;

test('A2A: a task, whole and streamed', async () => {
  const client = await a2a('shouter@office');
  const task = await client.sendMessage({ message: message('quiet words') });
  assert.equal(task.status.state, COMPLETED);
  assert.match(task.artifacts[0].parts[0].content.value, /QUIET WORDS/);

  const kinds = [];
  let answer = '';
  for await (const { payload } of client.sendMessageStream({ message: message('more words') })) {
    kinds.push(payload.$case);
    if (payload.$case === 'artifactUpdate') answer = payload.value.artifact.parts[0].content.value;
  }
  assert.equal(kinds[0], 'task');
  assert.equal(kinds.at(-1), 'statusUpdate');
  assert.match(answer, /MORE WORDS/);

  const again = await client.getTask({ id: task.id });
  assert.equal(again.status.state, COMPLETED);
});

test('A2A: a task that fails says why', async () => {
  const client = await a2a('broken');
  const task = await client.sendMessage({ message: message('x') });
  assert.equal(task.status.state, FAILED);
  assert.match(task.status.message.parts[0].content.value, /exit code 4/);
});
