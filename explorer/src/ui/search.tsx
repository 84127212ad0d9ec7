/** The search box: a transaction's id, an address, a commit's number, a vertex's name. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { inWords } from "../api/errors.ts";
import { hrefOf } from "../lib/route.ts";
import { readQuery } from "../lib/search.ts";
import type { Session } from "../session.ts";

export function Search({ session }: { readonly session: Session }): JSX.Element {
  const [words, setWords] = useState("");
  const box = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const isTyping = event.target instanceof HTMLElement && event.target.closest("input, textarea, select") !== null;
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      box.current?.focus();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  const go = async (typed: string): Promise<void> => {
    setWords("");
    try {
      const href = await placeOf(session, typed);
      if (href.words !== undefined) setWords(href.words);
      else {
        location.hash = href.hash;
        if (box.current !== null) box.current.value = "";
      }
    } catch (error) {
      setWords(inWords(error));
    }
  };
  return (
    <form
      class="search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        void go(box.current?.value ?? "");
      }}
    >
      <label class="unseen" for="search-box">
        Search for a transaction id, an address, a commit’s number or a vertex
      </label>
      <input id="search-box" ref={box} type="search" placeholder="Transaction, address, commit, vertex" autocomplete="off" autocapitalize="off" spellcheck={false} aria-describedby="search-words" onInput={() => setWords("")} />
      <button type="submit">Find</button>
      <p id="search-words" class="search-words" role="alert">
        {words}
      </p>
    </form>
  );
}

type Place = { readonly hash: string; readonly words?: undefined } | { readonly words: string };

async function placeOf(session: Session, typed: string): Promise<Place> {
  const query = readQuery(typed);
  switch (query.kind) {
    case "wrong":
      return { words: query.words };
    case "commit":
      return { hash: hrefOf({ page: "commit", index: query.index }) };
    case "address":
      return { hash: hrefOf({ page: "account", address: query.address }) };
    case "vertex":
      return { hash: hrefOf({ page: "vertex", name: query.name }) };
    case "digest":
      return { hash: await placeOfDigest(session, query.digest) };
  }
}

/** A transaction's page tells of those that are not known, too; so a digest that is no vertex's goes there. */
async function placeOfDigest(session: Session, digest: string): Promise<string> {
  const phase = await session.link.call("phase", { id: digest });
  if (phase.phase === null && (await session.link.call("vertex", { digest })) !== null) {
    return hrefOf({ page: "vertex", name: digest });
  }
  return hrefOf({ page: "transaction", id: digest });
}
