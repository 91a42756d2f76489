// What can be reached from staging's network: what is read of the kernel and of the container, and what is made of it.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { classify } from '../../lib/staging/banner.ts'
import {
  candidatesOf,
  gatewaysOf,
  interfaceOf,
  isHere,
  listening,
  type Bridge,
  type WithPorts,
} from '../../lib/staging/host-ports.ts'
import { readInside, type Try } from '../../lib/staging/inside.ts'
import { beyondText, portsText, refusedPorts, waysOut, type HostPorts } from '../../lib/staging/reach.ts'

const HEAD =
  '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n'
const REST = '00000000:00000000 00:00000000 00000000     0        0 1060 1 000000007662ee4c 100 0 0 10 0\n'
const entry = (local: string, remote: string, state: string): string =>
  `   0: ${local} ${remote} ${state} ${REST}`

describe('the sockets that the kernel lists', () => {
  test('of IPv4, those that listen, as a processor of either order has them', () => {
    const text =
      HEAD +
      entry('00000000:07E8', '00000000:0000', '0A') +
      entry('0100007F:13BA', '00000000:0000', '0A') +
      entry('01E0A8C0:0019', '00000000:0000', '0A') +
      entry('01E0A8C0:1F90', '02E0A8C0:C350', '01')
    assert.deepEqual(listening(text, 'LE'), [
      { address: '0.0.0.0', port: 2024 },
      { address: '127.0.0.1', port: 5050 },
      { address: '192.168.224.1', port: 25 },
    ])
    assert.deepEqual(listening(HEAD + entry('7F000001:0019', '00000000:0000', '0A'), 'BE'), [
      { address: '127.0.0.1', port: 25 },
    ])
  })

  test('of IPv6, all addresses, loopback, one of its own, one of IPv4', () => {
    const none = `${'0'.repeat(32)}:0000`
    const text =
      HEAD +
      entry(`${'0'.repeat(32)}:6989`, none, '0A') +
      entry(`${'0'.repeat(24)}01000000:6989`, none, '0A') +
      entry('000077FD000000000000000001000000:0050', none, '0A') +
      entry('0000000000000000FFFF000001E0A8C0:0050', none, '0A')
    assert.deepEqual(listening(text, 'LE'), [
      { address: '::', port: 27017 },
      { address: '::1', port: 27017 },
      { address: 'fd77::1', port: 80 },
      { address: '192.168.224.1', port: 80 },
    ])
  })
})

const bridge = (IPAM: Bridge['IPAM'], Options: Bridge['Options'] = {}): Bridge => ({
  Id: '1fd4fefba168007aa51f530cdde4d9e5ed58a716aca88d07f933ca0c5609b505',
  Name: 'n',
  Internal: true,
  Labels: null,
  Containers: {},
  Driver: 'bridge',
  Options,
  IPAM,
})

const TRIE = `Local:
  +-- 0.0.0.0/0 3 0 5
           |-- 127.0.0.1
              /32 host LOCAL
           |-- 10.78.0.128
              /32 host LOCAL
           |-- 10.78.0.255
              /32 link BROADCAST
           |-- 192.0.2.2
              /32 host LOCAL
`
const INET6 = `00000000000000000000000000000001 01 80 10 80       lo
fd770000000000000000000000000001 07 40 00 80 br-1fd4fefba168
fe800000000000000000000000000001 07 40 20 80 br-1fd4fefba168
`

describe('the bridge', () => {
  test('its interface has the name that was chosen, or one after its id', () => {
    assert.equal(interfaceOf(bridge({ Config: null })), 'br-1fd4fefba168')
    assert.equal(
      interfaceOf(bridge({ Config: null }, { 'com.docker.network.bridge.name': 'staging0' })),
      'staging0',
    )
  })

  test('is here when the kernel has an interface of exactly this name', () => {
    const dev = 'Inter-|   Receive\n face |bytes\n    lo: 1 2\nbr-1fd4fefba168: 0 0\n'
    assert.equal(isHere('br-1fd4fefba168', dev), true)
    assert.equal(isHere('br-1fd4fefba16', dev), false)
    assert.equal(isHere('br-1fd4fefba168', ''), false)
  })

  test('its addresses are those that Docker names, and those that only the kernel knows', () => {
    const named = bridge({ Config: [{ Subnet: '192.168.224.0/20', Gateway: '192.168.224.1' }] })
    assert.deepEqual(gatewaysOf(named, TRIE, INET6), ['192.168.224.1'])
    const unnamed = bridge({ Config: [{ Subnet: '10.78.0.0/24' }, { Subnet: 'fd77::/64' }] })
    assert.deepEqual(gatewaysOf(unnamed, TRIE, INET6), ['10.78.0.128', 'fd77::1'])
    assert.deepEqual(gatewaysOf(unnamed, '', ''), [])
    assert.deepEqual(gatewaysOf(bridge({ Config: null }), TRIE, INET6), [])
  })
})

const container = (Name: string, Ports: NonNullable<WithPorts['NetworkSettings']['Ports']>): WithPorts => ({
  Id: Name,
  Name: `/${Name}`,
  NetworkSettings: { Networks: {}, Ports },
})

describe('the ports that might answer', () => {
  const gateways = ['192.168.224.1']

  test('sockets on all addresses or the bridge’s, not on loopback or another network’s', () => {
    const sockets = [
      { address: '0.0.0.0', port: 25 },
      { address: '::', port: 587 },
      { address: '127.0.0.1', port: 27017 },
      { address: '::1', port: 27018 },
      { address: '172.18.0.1', port: 6379 },
      { address: '192.168.224.1', port: 80 },
    ]
    assert.deepEqual(candidatesOf(sockets, [], gateways), [{ port: 25 }, { port: 80 }, { port: 587 }])
  })

  test('what containers publish, with or without a socket, but for loopback and UDP', () => {
    const containers = [
      container('proxy', {
        '80/tcp': [
          { HostIp: '0.0.0.0', HostPort: '80' },
          { HostIp: '::', HostPort: '80' },
        ],
        '443/tcp': [{ HostIp: '', HostPort: '8443' }],
        '53/udp': [{ HostIp: '0.0.0.0', HostPort: '53' }],
        '27017/tcp': null,
      }),
      container('database', { '27017/tcp': [{ HostIp: '127.0.0.1', HostPort: '27017' }] }),
    ]
    assert.deepEqual(candidatesOf([{ address: '0.0.0.0', port: 80 }], containers, gateways), [
      { port: 80, container: 'proxy' },
      { port: 8443, container: 'proxy' },
    ])
  })
})

const base64 = (text: string | Buffer): string => Buffer.from(text).toString('base64')
const ROUTES = `ipv4 ${base64('Iface\tDestination\n')}\n`
const at = (...ports: number[]): { ip: string; port: number }[] =>
  ports.map((port) => ({ ip: '10.0.0.1', port }))
const tried = (i: number, code: number, said: string): string => `try ${i} ${code} ${base64(said)}\n`

describe('what the container prints', () => {
  const one = (code: number, said: string): Try | undefined =>
    readInside(ROUTES + tried(0, code, said), at(25), '').tries[0]

  test('what was said comes out byte for byte, whatever it is', () => {
    const hostile = Buffer.from([...Buffer.from('220 \u001B[2J\ntry 1 0 b3Blbg==\r\n'), 0, 0xff])
    assert.deepEqual(one(0, `open .${base64(hostile)} . .`)?.greeting, hostile)
    const answer = one(0, `open . .${base64('-ERR')} .`)
    assert.equal(answer?.greeting.length, 0)
    assert.equal(String(answer?.answer), '-ERR')
    assert.equal(String(one(0, `open . . .${base64('S')}`)?.postgres), 'S')
  })

  test('the lines may come in any order', () => {
    const refused = 'bash: connect: Connection refused\nbash: /dev/tcp/10.0.0.1/2: Connection refused\n'
    const output = tried(1, 9, refused) + ROUTES + tried(0, 0, 'open ')
    const { tries } = readInside(output, at(1, 2), '')
    assert.deepEqual(
      tries.map((t) => t.state),
      ['open', 'refused'],
    )
  })

  test('whoever is cut off after the connection was reached', () => {
    assert.equal(one(124, 'open ')?.state, 'open')
    assert.equal(one(124, '')?.state, 'silent')
    assert.equal(one(1, 'bash: connect: Network is unreachable')?.state, 'unreachable')
    assert.equal(one(1, 'bash: connect: No route to host')?.state, 'unreachable')
    assert.equal(one(1, 'bash: connect: Connection timed out')?.state, 'silent')
  })

  test('what was not tried, or is not understood, is not out of reach', () => {
    assert.throws(() => readInside(ROUTES, at(25), ''), /not known whether 10\.0\.0\.1:25/)
    assert.throws(() => one(127, 'bash: fork: Resource temporarily unavailable'), /exit code 127/)
    assert.throws(() => one(1, 'bash: /dev/tcp/10.0.0.1/25: No such file or directory'), /not known/)
    assert.throws(() => readInside('', [], ''), /routes/)
  })

  test('a name: found, not found, not answered, not asked', () => {
    const named = (line: string): readonly string[] => readInside(ROUTES + line, [], 'example.com').resolved
    const found = '192.0.2.7   STREAM example.com\n192.0.2.7   DGRAM\n2001:db8::7 STREAM\n'
    assert.deepEqual(named(`name 0 ${base64(found)}\n`), ['192.0.2.7', '2001:db8::7'])
    assert.deepEqual(named('name 2 \n'), [])
    assert.deepEqual(named('name 124 \n'), [])
    assert.throws(() => named('name 127 \n'), /not known whether example\.com resolves/)
    assert.throws(() => named(''), /not known whether example\.com resolves/)
  })
})

const said = (how: { greeting?: string | Buffer; answer?: string; postgres?: string }): Try => ({
  state: 'open',
  greeting: Buffer.from(how.greeting ?? ''),
  answer: Buffer.from(how.answer ?? ''),
  postgres: Buffer.from(how.postgres ?? ''),
})

describe('what listens', () => {
  const is = (what: string, port: number, how: Parameters<typeof said>[0], evidence: RegExp): void => {
    const seen = classify(port, said(how))
    assert.equal(seen.what, what, `${port}: ${seen.evidence}`)
    assert.match(seen.evidence, evidence)
  }

  test('mail, by its greeting at any port', () => {
    is(
      'mail',
      10025,
      { greeting: '220 mail.example ESMTP Postfix\r\n' },
      /^greets with 220 mail\.example ESMTP/,
    )
    is('mail', 10025, { greeting: '220-mail.example\r\n220 welcome\r\n' }, /220-mail/)
    is('mail', 10025, { greeting: '554 no SMTP service here\r\n' }, /554/)
    is('mail', 25, { greeting: '421 too many connections\r\n' }, /421/)
    is('mail', 25, {}, /^by its number 25 \(SMTP\); accepts connections and says nothing$/)
    is('mail', 465, { answer: '\u0015\u0003\u0001' }, /^by its number 465/)
    is('other', 21, { greeting: '220 (vsFTPd 3.0.3)\r\n' }, /^greets with 220 \(vsFTPd/)
    is('other', 143, { greeting: '* OK IMAP ready\r\n' }, /IMAP/)
    is('other', 1000, { greeting: '421 busy\r\n' }, /421/)
  })

  test('databases, by what they say at any port', () => {
    const mongo =
      'HTTP/1.0 200 OK\r\n\r\nIt looks like you are trying to access MongoDB over HTTP on the native driver port.'
    is('database', 10000, { answer: mongo }, /^answers like MongoDB/)
    is(
      'database',
      10000,
      { answer: "-ERR wrong number of arguments for 'get' command\r\n" },
      /Redis: -ERR wrong/,
    )
    is('database', 10000, { answer: '-NOAUTH Authentication required.\r\n' }, /Redis/)
    is('database', 10000, { greeting: '-DENIED Redis is running in protected mode\r\n' }, /Redis/)
    is('database', 10000, { answer: 'ERROR\r\nERROR\r\n' }, /memcached/)
    is('database', 10000, { postgres: 'N' }, /PostgreSQL/)
    const mysql = Buffer.from('J\0\0\0\n8.0.36\0\u0008\0\0\0abcdefgh\0', 'latin1')
    is('database', 10000, { greeting: mysql }, /^answers like MySQL: 8\.0\.36$/)
    const refusal = Buffer.from(
      "F\0\0\0\u00FFj\u0004Host '10.0.0.2' is not allowed to connect to this MySQL server",
      'latin1',
    )
    is('database', 10000, { greeting: refusal }, /MySQL: Host '10/)
    is(
      'database',
      10000,
      { answer: 'HTTP/1.0 200 OK\r\nX-elastic-product: Elasticsearch\r\n' },
      /Elasticsearch/,
    )
  })

  test('by the number, where nothing is said that is known', () => {
    is('database', 5432, {}, /^by its number 5432 \(PostgreSQL\)/)
    is('database', 27017, { answer: '\u0015\u0003' }, /^by its number 27017/)
    is(
      'database',
      9200,
      { answer: 'HTTP/1.1 401 Unauthorized\r\n' },
      /^by its number 9200 .* 401 Unauthorized$/,
    )
    is('other', 6379, { answer: 'HTTP/1.1 404 Not Found\r\n' }, /^answers HTTP: HTTP\/1\.1 404/)
    is('other', 3306, { greeting: 'SSH-2.0-OpenSSH_9.6\r\n' }, /SSH/)
    is('other', 4444, {}, /^accepts connections and says nothing$/)
    is('other', 4444, { greeting: 'hello\n' }, /^greets with hello$/)
    is('other', 4444, { postgres: 'SX' }, /says nothing/)
  })

  test('no byte of it reaches a terminal, and not more than a line', () => {
    const hostile = `220 \u001B]0;x\u0007\u001B[2J\u009B31m\u202E ESMTP ${'y'.repeat(500)}\r\nMAIL\n`
    for (const how of [
      { greeting: hostile },
      { greeting: hostile.slice(4) },
      { answer: `HTTP/1.1 ${hostile}` },
    ]) {
      const { evidence } = classify(4444, said(how))
      assert.doesNotMatch(evidence, /\p{C}/u)
      assert.ok(evidence.length < 150, `${evidence.length} characters`)
    }
  })
})

const HEADER = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n'
const OWN = 'eth0\t00E0A8C0\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0\n'
const zero = '0'.repeat(32)
const OWN6 = `fd77${'0'.repeat(28)} 40 ${zero} 00 ${zero} 00000100 00000002 00000000 00000001     eth0
${zero} 00 ${zero} 00 ${zero} ffffffff 00000001 00000000 00200200       lo
`

describe('ways out', () => {
  test('the network’s own routes are none', () => {
    assert.deepEqual(waysOut({ ipv4: HEADER + OWN, ipv6: OWN6 }), [])
    assert.deepEqual(waysOut({ ipv4: HEADER, ipv6: '' }), [])
  })

  test('a default route, with a gateway or without, and any route by a gateway', () => {
    const by = (line: string): string[] => waysOut({ ipv4: HEADER + OWN + line, ipv6: '' })
    assert.equal(by('eth0\t00000000\t01E0A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n').length, 1)
    assert.equal(by('eth1\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n').length, 1)
    assert.equal(by('eth0\t000011AC\t01E0A8C0\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n').length, 1)
    assert.equal(by('eth0\t000011AC\t00000000\t0200\t0\t0\t0\t0000FFFF\t0\t0\t0\n').length, 0)
    const six = `${zero} 00 ${zero} 00 fd77${'0'.repeat(27)}1 00000400 00000001 00000000 00000003     eth0\n`
    assert.deepEqual(waysOut({ ipv4: HEADER, ipv6: OWN6 + six }), ['eth0 to fd77::1'])
  })
})

const NOTHING = { greeting: Buffer.alloc(0), answer: Buffer.alloc(0), postgres: Buffer.alloc(0) }

test('each thing that was reached is one sentence, and nothing is none', () => {
  const others = ['open', 'refused', 'unreachable', 'silent'].map((name, i) => ({
    name: `the container ${name}`,
    ip: i === 1 ? 'fd00::2' : '172.18.0.3',
    port: 27017,
  }))
  const tries = (['open', 'refused', 'unreachable', 'silent'] as const).map((state) => ({
    state,
    ...NOTHING,
  }))
  const routes = { ipv4: HEADER + OWN, ipv6: OWN6 }
  const text = beyondText('n', others, { tries, routes, resolved: ['192.0.2.7'] })
  assert.equal(text.length, 3)
  assert.match(text[0] ?? '', /the container open can be reached: 172\.18\.0\.3:27017 accepts/)
  assert.match(text[1] ?? '', /the container refused can be reached: \[fd00::2\]:27017 answers/)
  assert.match(text[2] ?? '', /example\.com: 192\.0\.2\.7.*update Docker/)
  assert.deepEqual(beyondText('n', others.slice(2), { tries: tries.slice(2), routes, resolved: [] }), [])
})

describe('what a person reads', () => {
  const found: HostPorts = {
    network: 'meeshy-staging',
    bridge: 'br-1fd4fefba168',
    ports: [
      { port: 25, what: 'mail', evidence: 'greets with 220 x ESMTP', ip: '192.168.224.1' },
      { port: 80, what: 'other', evidence: 'answers HTTP: 404', ip: '192.168.224.1', container: 'proxy' },
      { port: 27017, what: 'database', evidence: 'answers like MongoDB', ip: 'fd77::1', container: 'db' },
    ],
  }

  test('every port that answers, and what was skipped', () => {
    assert.equal(
      portsText(found),
      'ports of this server that answer in the network meeshy-staging:\n' +
        '  25: mail, greets with 220 x ESMTP\n' +
        '  80: other, answers HTTP: 404, published by the container proxy\n' +
        '  27017: database, answers like MongoDB, published by the container db',
    )
    const none = portsText({ ...found, ports: [], skipped: 'Docker is elsewhere' })
    assert.match(none, /^no port of this server that was tried answers/)
    assert.match(none, /skipped, because Docker is elsewhere$/)
  })

  test('mail and databases are refused, each with what to do; others are not', () => {
    const [mail = '', database = '', ...more] = refusedPorts(found)
    assert.deepEqual(more, [])
    assert.match(mail, /could send mail: port 25 .* at 192\.168\.224\.1 .*ss -ltnp 'sport = :25'/)
    assert.match(mail, /\n {2}iptables -I INPUT -i br-\+ -p tcp --dport 25 -j DROP$/)
    assert.match(database, /Let db publish it on 127\.0\.0\.1 alone/)
    assert.match(database, /\n {2}ip6tables -I INPUT .* --dport 27017 -j DROP$/)
    assert.match(refusedPorts({ ...found, bridge: 'staging0' })[0] ?? '', / -i staging0 /)
  })
})
