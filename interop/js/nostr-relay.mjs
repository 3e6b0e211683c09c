// A Nostr relay in memory: @nostr-relay/core behind a WebSocket server. It
// prints its URL and runs until its standard input ends.
import { EventRepository } from '@nostr-relay/common'
import { NostrRelay } from '@nostr-relay/core'
import { matchFilter } from 'nostr-tools/filter'
import { WebSocketServer } from 'ws'

class Memory extends EventRepository {
  events = new Map() // by id

  isSearchSupported() {
    return false
  }

  // An addressable event takes the place of an older one of its author, kind and d.
  upsert(event) {
    if (this.events.has(event.id)) return { isDuplicate: true }
    const address = addressOf(event)
    for (const [id, other] of this.events) {
      if (!address || addressOf(other) !== address) continue
      if (other.created_at > event.created_at) return { isDuplicate: true }
      this.events.delete(id)
    }
    this.events.set(event.id, event)
    return { isDuplicate: false }
  }

  find(filter) {
    const found = [...this.events.values()].filter((event) => matchFilter(filter, event))
    found.sort((a, b) => b.created_at - a.created_at || (a.id < b.id ? -1 : 1))
    return found.slice(0, filter.limit ?? 500)
  }

  async deleteByDeletionRequest(request) {
    for (const [name, id] of request.tags) {
      if (name === 'e' && this.events.get(id)?.pubkey === request.pubkey) this.events.delete(id)
    }
  }

  async destroy() {}
}

function addressOf({ kind, pubkey, tags }) {
  return kind >= 30000 && kind < 40000 ? [kind, pubkey, tags.find(([name]) => name === 'd')?.[1]].join(':') : ''
}

const relay = new NostrRelay(new Memory(), { filterResultCacheTtl: 0, eventHandlingResultCacheTtl: 0 })
const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
server.on('connection', (socket) => {
  relay.handleConnection(socket)
  socket.on('message', (data) => relay.handleMessage(socket, JSON.parse(data.toString())))
  socket.on('close', () => relay.handleDisconnect(socket))
  socket.on('error', () => socket.terminate())
})
server.on('listening', () => console.log(`ws://127.0.0.1:${server.address().port}`))
process.stdin.on('end', () => process.exit(0)).resume()
