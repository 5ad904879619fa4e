// Scenarios with mqtt.js: mqttjs.mjs MODULES HOST PORT LEVEL SCENARIO.
//
// MODULES is the folder whose node_modules has mqtt.js. LEVEL is 3, 4 or 5. Exit code 0 means passed.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { randomUUID } from 'node:crypto'

const [modules, host, port, level, scenario] = process.argv.slice(2)
const mqtt = createRequire(`${modules}/`)('mqtt')
const version = Number(level)
const name = () => `js${randomUUID().replaceAll('-', '').slice(0, 18)}`

// A client whose messages can be waited for.
class Device {
  static async open(options = {}) {
    const device = new Device()
    device.messages = []
    device.waiting = []
    const extra = version === 3 ? { protocolId: 'MQIsdp' } : {}
    device.client = mqtt.connect({
      host, port: Number(port), protocolVersion: version, clientId: name(), reconnectPeriod: 0,
      connectTimeout: 10_000, clean: true, ...extra, ...options
    })
    device.client.on('message', (topic, payload, packet) => {
      const message = { topic, text: payload.toString(), packet }
      const next = device.waiting.shift()
      if (next) next(message)
      else device.messages.push(message)
    })
    device.connack = await new Promise((resolve, reject) => {
      device.client.once('connect', resolve)
      device.client.once('error', reject)
      device.client.once('close', () => reject(new Error('closed before CONNACK')))
    })
    return device
  }

  message() {
    if (this.messages.length > 0) return this.messages.shift()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no message within 10 s')), 10_000)
      this.waiting.push((message) => { clearTimeout(timer); resolve(message) })
    })
  }

  async subscribe(filter, options) {
    const granted = await this.client.subscribeAsync(filter, options)
    assert.ok(granted.every(({ qos }) => qos < 0x80), JSON.stringify(granted))
  }

  publish(topic, text, options) {
    return this.client.publishAsync(topic, text, options)
  }

  leave() {
    return this.client.endAsync()
  }

  vanish() {
    this.client.stream.destroy()
  }
}

const durableOptions = version === 5 ? { properties: { sessionExpiryInterval: 300 } } : {}

const scenarios = {
  async qos() {
    const topic = `js/${name()}/qos`
    const [subscriber, publisher] = [await Device.open(), await Device.open()]
    await subscriber.subscribe(topic, { qos: 2 })
    for (const qos of [0, 1, 2]) {
      await publisher.publish(topic, `at ${qos}`, { qos })
      const { text, packet } = await subscriber.message()
      assert.deepEqual([text, packet.qos, packet.retain], [`at ${qos}`, qos, false])
    }
    const sent = Array.from({ length: 300 }, (_, count) => publisher.publish(topic, String(count), { qos: 1 }))
    for (let count = 0; count < 300; count += 1) assert.equal((await subscriber.message()).text, String(count))
    await Promise.all(sent)
    await Promise.all([subscriber.leave(), publisher.leave()])
  },

  async retained() {
    const topic = `js/${name()}/retained`
    const [publisher, subscriber] = [await Device.open(), await Device.open()]
    await publisher.publish(topic, 'kept', { qos: 1, retain: true })
    await subscriber.subscribe(topic, { qos: 1 })
    const { text, packet } = await subscriber.message()
    assert.deepEqual([text, packet.retain], ['kept', true])
    await publisher.publish(topic, '', { qos: 1, retain: true })
    assert.equal((await subscriber.message()).text, '')
    const late = await Device.open()
    await late.subscribe(topic, { qos: 1 })
    await publisher.publish(topic, 'after', { qos: 1 })
    assert.equal((await late.message()).text, 'after')
    await Promise.all([late.leave(), publisher.leave(), subscriber.leave()])
  },

  async will() {
    const topic = `js/${name()}/will`
    const watcher = await Device.open()
    await watcher.subscribe(topic, { qos: 2 })
    const orderly = await Device.open({ will: { topic, payload: 'never', qos: 1, retain: false } })
    await orderly.leave()
    const lost = await Device.open({ will: { topic, payload: 'gone', qos: 2, retain: false } })
    lost.vanish()
    const { text, packet } = await watcher.message()
    assert.deepEqual([text, packet.qos], ['gone', 2])
    await watcher.leave()
  },

  async durable() {
    const [topic, clientId] = [`js/${name()}/durable`, name()]
    const away = await Device.open({ clientId, clean: false, ...durableOptions })
    await away.subscribe(topic, { qos: 2 })
    await away.leave()
    const publisher = await Device.open()
    for (let count = 0; count < 20; count += 1) await publisher.publish(topic, String(count), { qos: 1 + (count % 2) })
    const back = await Device.open({ clientId, clean: false, ...durableOptions })
    if (version !== 3) assert.equal(back.connack.sessionPresent, true)
    const seen = []
    for (let count = 0; count < 20; count += 1) seen.push(Number((await back.message()).text))
    assert.deepEqual([...seen].sort((a, b) => a - b), Array.from({ length: 20 }, (_, count) => count))
    await back.leave()
    await (await Device.open({ clientId, clean: true })).leave()
    await publisher.leave()
  },

  async shared() {
    const [group, topic] = [name(), `js/${name()}/shared`]
    const members = await Promise.all([Device.open(), Device.open(), Device.open()])
    const seen = []
    const got = [0, 0, 0]
    let done
    const all = new Promise((resolve) => { done = resolve })
    for (const [at, member] of members.entries()) {
      await member.subscribe(`$share/${group}/${topic}`, { qos: 1 })
      member.client.on('message', (_, payload) => {
        seen.push(Number(payload.toString()))
        got[at] += 1
        if (seen.length === 90) done()
      })
    }
    const publisher = await Device.open()
    for (let count = 0; count < 90; count += 1) await publisher.publish(topic, String(count), { qos: 1 })
    await all
    assert.deepEqual([...seen].sort((a, b) => a - b), Array.from({ length: 90 }, (_, count) => count))
    assert.ok(got.every((count) => count > 0), String(got))
    await Promise.all([...members, publisher].map((device) => device.leave()))
  },

  async properties() {
    const topic = `js/${name()}/properties`
    const subscriber = await Device.open({ properties: { topicAliasMaximum: 5 } })
    const publisher = await Device.open()
    await subscriber.subscribe(topic, { qos: 1, properties: { subscriptionIdentifier: 4711 } })
    await publisher.publish(topic, 'hello', {
      qos: 1,
      properties: {
        userProperties: { b: ['1', '2'], a: '3' }, contentType: 'text/plain', correlationData: Buffer.from([0, 1, 255]),
        responseTopic: 'answers/here', messageExpiryInterval: 100, payloadFormatIndicator: true
      }
    })
    const { properties } = (await subscriber.message()).packet
    assert.deepEqual(structuredClone(properties.userProperties), { b: ['1', '2'], a: '3' })
    assert.deepEqual([...properties.correlationData], [0, 1, 255])
    assert.equal(properties.contentType, 'text/plain')
    assert.equal(properties.responseTopic, 'answers/here')
    assert.equal(properties.payloadFormatIndicator, true)
    assert.ok(properties.messageExpiryInterval >= 95 && properties.messageExpiryInterval <= 100)
    assert.deepEqual([properties.subscriptionIdentifier].flat(), [4711])
    assert.ok(publisher.connack.properties.topicAliasMaximum >= 1)
    await publisher.publish(topic, 'named', { qos: 1, properties: { topicAlias: 1 } })
    await publisher.publish('', 'by alias', { qos: 1, properties: { topicAlias: 1 } })
    for (const text of ['named', 'by alias']) {
      const message = await subscriber.message()
      assert.deepEqual([message.topic, message.text], [topic, text])
    }
    await Promise.all([subscriber.leave(), publisher.leave()])
  }
}

await scenarios[scenario]()
process.exit(0)
