// The report for people. Pure.
import { quote } from '../../lib/shell.ts'
import type { Named, Report } from './report.ts'

const COLUMNS = [
  'read',
  'transformed',
  'carried',
  'renamed',
  'merged',
  'archived',
  'dropped',
  'quarantined',
] as const

/** A name from the data as text of one line that no table or markup takes apart. */
export const plain = (text: string): string =>
  (/^[\w.-]+$/.test(text) ? text : JSON.stringify(text)).replaceAll(/[|`<>*[\]]/g, (c) => `\\${c}`)

const row = (cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`
const section = (title: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', `## ${title}`, '', ...lines]
const named = ({ collection, rule, why, ids }: Named): string =>
  `- ${plain(collection)}, ${rule} (${ids.length}): ${why}: ${ids.join(' ')}`

export function markdown(report: Report): string {
  const { source, totals, weighed, verification, files = [] } = report
  const byRule = new Map(weighed.rules.map((rule) => [rule.rule, rule]))
  const lines = [
    `# Migration: ${report.mode}`,
    '',
    `- Source: ${plain(source.address)}, MongoDB ${source.version}, read at ${source.at}`,
    ...(report.target === undefined ? [] : [`- Target: ${plain(report.target)}`]),
    `- Plan ${report.planHash.slice(0, 12)}, schema ${report.schemaHash.slice(0, 12)}, ${report.tool}`,
    `- Started ${report.started}, ${(report.ms / 1000).toFixed(1)} s`,
    `- read = transformed + carried + renamed + merged + archived + dropped + quarantined: ${report.isConserved ? 'holds for every collection' : 'DOES NOT HOLD'}`,
    ...section('What stops it', [
      ...weighed.problems.map((text) => `- ${text}`),
      ...(weighed.words.length === 0
        ? []
        : ['', 'To accept all of that:', '', ...weighed.words.map((word) => `    --accept ${quote(word)}`)]),
    ]),
    '',
    '## Collections',
    '',
    row(['collection', 'decision', 'into', ...COLUMNS]),
    row(['---', '---', '---', ...COLUMNS.map(() => '---:')]),
    ...report.collections.map((c) =>
      row([
        plain(c.name),
        c.isAbsent ? `${c.decision} (not there)` : c.decision,
        c.into === undefined ? '' : plain(c.into),
        ...COLUMNS.map((key) => c[key]),
      ]),
    ),
    row(['all', '', '', ...COLUMNS.map((key) => totals[key])]),
    ...section(
      'Quarantined',
      report.quarantined.map(({ collection, id, reasons }) => {
        const why = reasons.map(({ rule, text }) => `${rule} (${byRule.get(rule)?.by ?? 'nobody'}): ${text}`)
        return `- ${plain(collection)} ${id}: ${why.join('; ')}`
      }),
    ),
    ...section(
      'Left out by the policy of a reference',
      report.leftOut.map(
        ({ collection, id, reasons }) =>
          `- ${plain(collection)} ${id}: ${reasons.map(({ text }) => text).join('; ')}`,
      ),
    ),
    ...section(
      'Accepted, and not there',
      weighed.needless.map((word) => `- ${word}`),
    ),
    ...section('Loaded, and worth a look', [
      ...report.listed.map(named),
      ...report.unequal.map(
        ({ collection, field, ids }) =>
          `- ${plain(collection)}, ${field} (${ids.length}) is another one than that of the document it names: ${ids.join(' ')}`,
      ),
    ]),
    ...section('Loaded after a repair that somebody should look at', report.repaired.map(named)),
    ...section(
      'Repairs by rule and field',
      report.collections.flatMap(({ name, repairs }) =>
        repairs.map(({ rule, field, documents }) => `- ${plain(name)}.${field}: ${rule}, ${documents}`),
      ),
    ),
    ...section(
      'Fields without a home, in the sidecar',
      report.collections.flatMap(({ name, aside }) =>
        Object.entries(aside).map(([field, count]) => `- ${plain(name)}.${plain(field)}: ${count}`),
      ),
    ),
    ...section('From other documents', [
      ...report.derived.map((d) => {
        const unused = Object.entries(d.unused).map(([why, count]) => `${count} ${why}`)
        return `- ${d.model}: ${d.rows} rows from ${d.used} of ${plain(d.from)}${unused.length > 0 ? `; ${unused.join(', ')}` : ''} (${d.why})`
      }),
      ...report.computed.map(({ field, from, why }) => `- ${field} from ${from}: ${why}`),
      ...report.notComputed.map(({ field, why }) => `- ${field} keeps its default: ${why}`),
    ]),
    ...section(
      'Indexes of the source',
      report.collections.flatMap(({ name, indexes }) =>
        indexes.map((index) => `- ${plain(name)} ${plain(index.name)}: ${index.fate}`),
      ),
    ),
    ...section(
      'Options that do not come along',
      report.collections.flatMap(({ name, options }) =>
        options === undefined ? [] : [`- ${plain(name)}: ${plain(options)}`],
      ),
    ),
    ...section(
      'Skipped',
      report.skipped.map((text) => `- ${text}`),
    ),
    ...section(
      'Files',
      files.map(
        ({ path, documents, bytes, sha256 }) =>
          `- ${plain(path)}: ${documents}, ${bytes} bytes, sha256 ${sha256}`,
      ),
    ),
    ...(verification
      ? section('Verification', [
          `- ${verification.compared} documents compared by their bytes, ${verification.indexes} indexes`,
          ...(verification.problems.length === 0
            ? ['- no difference']
            : verification.problems.map((text) => `- ${text}`)),
        ])
      : []),
    '',
  ]
  return lines.join('\n')
}
