// nostr-tools as a client.
//   node nostr-client.mjs publish RELAY < {"secret","kind","created_at","tags","content"}   prints the event
//   node nostr-client.mjs collect RELAY KIND                                                prints events as JSON, each checked
import { text } from 'node:stream/consumers'
import WebSocket from 'ws'

globalThis.WebSocket ??= WebSocket // before Node 22 there is none
const { SimplePool } = await import('nostr-tools/pool')
const { finalizeEvent, verifyEvent } = await import('nostr-tools/pure')
const { hexToBytes } = await import('nostr-tools/utils')

const [command, relay, kind] = process.argv.slice(2)
const pool = new SimplePool()
if (command === 'publish') {
  const { secret, ...template } = JSON.parse(await text(process.stdin))
  const event = finalizeEvent(template, hexToBytes(secret))
  await Promise.all(pool.publish([relay], event))
  console.log(JSON.stringify(event))
} else {
  const events = await pool.querySync([relay], { kinds: [Number(kind)] }, { maxWait: 10_000 })
  for (const event of events) {
    // What the library marked as checked is checked again from its JSON.
    if (!verifyEvent(JSON.parse(JSON.stringify(event)))) throw new Error(`event ${event.id} is not genuine`)
  }
  console.log(JSON.stringify(events))
}
process.exit(0)
