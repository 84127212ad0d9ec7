/** The validators: their stake, and how they keep up. */

import type { JSX } from "preact";
import type { ValidatorLine } from "../api/types.ts";
import { grouped, short } from "../lib/format.ts";
import type { Session } from "../session.ts";
import { Page, Panel, Shown, Table, useLoaded } from "../ui/parts.tsx";

const REFRESH_MS = 2_000;
const BEHIND_ROUNDS = 10;

export function ValidatorsPage({ session }: { readonly session: Session }): JSX.Element {
  const loaded = useLoaded(() => session.link.call("validators", {}), [], REFRESH_MS);
  return (
    <Page title="Validators" sub="Rounds and misses are of the window that this node holds; leads are of its recent leader slots.">
      <Shown
        of={loaded}
        show={({ round, validators }) => {
          const total = validators.reduce((sum, one) => sum + BigInt(one.stake), 0n);
          const heads = ["Validator", "State", "Stake|number", "Share|number", "Last round|number", "Rounds|number", "Misses|number", "Leads|number", "Leads missed|number", "Public key"];
          return (
            <Panel title={`${validators.length} validators at round ${grouped(round)}`}>
              <Table name="Validators" heads={heads}>
                {validators.map((one) => (
                  <Line key={one.index} one={one} round={round} total={total} />
                ))}
              </Table>
            </Panel>
          );
        }}
      />
    </Page>
  );
}

function Line({ one, round, total }: { readonly one: ValidatorLine; readonly round: number; readonly total: bigint }): JSX.Element {
  const [tone, state] = stateOf(one, round);
  const permille = total ? Number((BigInt(one.stake) * 1000n) / total) : 0;
  return (
    <tr>
      <th scope="row">{one.name}</th>
      <td>
        <span class={`mark ${tone}`}>{state}</span>
      </td>
      <td class="number">{grouped(one.stake)}</td>
      <td class="number">{(permille / 10).toFixed(1)} %</td>
      <td class="number">{one.last_round === null ? "none" : grouped(one.last_round)}</td>
      <td class="number">{grouped(one.rounds)}</td>
      <td class={`number ${one.misses ? "warn" : ""}`}>{grouped(one.misses)}</td>
      <td class="number">{grouped(one.leads)}</td>
      <td class={`number ${one.leads_missed ? "warn" : ""}`}>{grouped(one.leads_missed)}</td>
      <td>
        <code class="soft" title={one.public_key}>
          {short(one.public_key)}
        </code>
      </td>
    </tr>
  );
}

function stateOf(one: ValidatorLine, round: number): readonly [tone: string, words: string] {
  if (one.is_self) return ["good", "This node"];
  if (one.last_round === null || round - one.last_round > BEHIND_ROUNDS) return ["bad", one.is_linked ? "Linked, behind" : "Silent"];
  return one.is_linked ? ["good", "Linked"] : ["wait", "Heard of through others"];
}
