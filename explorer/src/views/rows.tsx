/** Transactions as rows of a table. */

import type { JSX } from "preact";
import type { Transaction } from "../api/types.ts";
import { AddressLink, Amount, CommitLink, StatusMark, Table, TransactionLink } from "../ui/parts.tsx";

const KINDS: Readonly<Record<number, string>> = { 1: "Transfer" };

export function kindWords(kind: number): string {
  return KINDS[kind] ?? `Operation ${kind}`;
}

/** own: the account whose history this is. */
export function TransactionTable(props: { readonly name: string; readonly rows: readonly Transaction[]; readonly own?: string }): JSX.Element {
  const { own } = props;
  const heads = ["Transaction", ...(own === undefined ? [] : ["Commit|number"]), "Kind", "From", "To", "Amount|number", "Status"];
  return (
    <Table name={props.name} heads={heads}>
      {props.rows.map((row) => (
        <tr key={row.id}>
          <td>
            <TransactionLink id={row.id} />
          </td>
          {own !== undefined && (
            <td class="number">
              <CommitLink index={row.commit_index} />
            </td>
          )}
          <td>{kindWords(row.kind)}</td>
          <td>
            <AddressLink address={row.sender} own={own ?? ""} />
          </td>
          <td>
            <AddressLink address={row.recipient} own={own ?? ""} />
          </td>
          <td class="number">
            <Amount units={row.amount} asset={row.asset} />
          </td>
          <td>
            <StatusMark status={row.status} />
          </td>
        </tr>
      ))}
    </Table>
  );
}
