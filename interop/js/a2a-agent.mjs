// An agent made with the official A2A SDK, twice: one that streams and one that
// does not. Go starts it and hands it tasks over the mesh; see mesh_test.go.
import { AgentEvent, DefaultRequestHandler, InMemoryTaskStore } from '@a2a-js/sdk/server';
import { agentCardHandler, jsonRpcHandler, UserBuilder } from '@a2a-js/sdk/server/express';
import express from 'express';

const WORKING = 2;
const COMPLETED = 3;
const FAILED = 4;
const CANCELED = 5;
const INPUT_REQUIRED = 6;

const base = `http://127.0.0.1:${process.env.PORT}`;
const parts = (text) => [{ content: { $case: 'text', value: text }, filename: '', mediaType: 'text/plain', metadata: undefined }];
const textOf = (message) => message.parts.map((part) => part.content.value).join('');

class Executor {
  waiting = new Map(); // tasks that work until they are cancelled

  async execute(context, bus) {
    const { taskId, contextId } = context;
    const says = (text) => ({ messageId: crypto.randomUUID(), contextId, taskId, role: 2, parts: parts(text), extensions: [], referenceTaskIds: [], metadata: undefined });
    const status = (state, text) => ({ state, message: text ? says(text) : undefined, timestamp: new Date().toISOString() });
    const becomes = (state, text) => bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: status(state, text), metadata: undefined }));
    const makes = (text, append) => bus.publish(AgentEvent.artifactUpdate({
      taskId, contextId, append, lastChunk: append, metadata: undefined,
      artifact: { artifactId: 'answer', name: '', description: '', parts: parts(text), metadata: undefined, extensions: [] },
    }));
    bus.publish(AgentEvent.task(context.task ?? { id: taskId, contextId, status: status(WORKING), artifacts: [], history: [context.userMessage], metadata: undefined }));
    const text = textOf(context.userMessage);
    if (context.task) {
      becomes(WORKING, 'I go on');
      makes('merged ', false);
      makes(text, true);
      becomes(COMPLETED);
    } else if (text.includes('ask me')) {
      becomes(INPUT_REQUIRED, 'which branch?');
    } else if (text.includes('fail')) {
      becomes(FAILED, 'there is no such branch');
    } else if (text.includes('work on')) {
      becomes(WORKING, 'I work');
      await new Promise((resolve) => this.waiting.set(taskId, resolve));
      becomes(CANCELED);
      console.log('cancelled');
    } else {
      makes(`you said: ${text}`, false);
      becomes(COMPLETED);
    }
    bus.finished();
  }

  cancelTask = async (taskId) => this.waiting.get(taskId)?.();
}

const app = express();
for (const [name, streaming] of [['streams', true], ['whole', false]]) {
  const card = {
    name, description: 'An agent of the tests', version: '1', provider: undefined, documentationUrl: undefined, iconUrl: undefined,
    supportedInterfaces: [{ url: `${base}/${name}`, protocolBinding: 'JSONRPC', protocolVersion: '1.0', tenant: '' }],
    capabilities: { streaming, pushNotifications: false, extensions: [] },
    securitySchemes: {}, securityRequirements: [], defaultInputModes: ['text/plain'], defaultOutputModes: ['text/plain'], skills: [], signatures: [],
  };
  const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), new Executor());
  app.use(`/${name}/.well-known/agent-card.json`, agentCardHandler({ agentCardProvider: requestHandler }));
  app.use(`/${name}`, jsonRpcHandler({ requestHandler, userBuilder: UserBuilder.noAuthentication }));
}
app.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('ready'));
