import { describe, expect, test } from "vitest";
import { Series, niceCeiling, quantile, recent } from "../src/charts/series.ts";
import { pathOf } from "../src/charts/line.tsx";
import type { CommitSummary } from "../src/api/types.ts";
import { CommitList } from "../src/lib/commit-list.ts";
import { coins, grouped, milliseconds, plural, rate, short, statusWords } from "../src/lib/format.ts";
import { hrefOf, readRoute } from "../src/lib/route.ts";
import { readQuery } from "../src/lib/search.ts";

const ADDRESS = "devcherry1qe95rmv4yc4trjmfcatepysq7hw9n67qjrmgt3v";
const ID = "9ee926da3fdd0b50faf00b59696d0b7d7cee6c253a9c4b12dae4993b2d4a0124";

describe("amounts", () => {
  test.each([
    ["0", "0"],
    ["1", "0.000000000000000001"],
    ["999999999999999999", "0.999999999999999999"],
    ["1000000000000000000", "1"],
    ["1500000000000000000", "1.5"],
    ["340282366920938463463374607431768211455", "340 282 366 920 938 463 463.374607431768211455"],
    ["-1000000000000000001", "−1.000000000000000001"],
  ])("%s units are %s coins", (units, text) => {
    expect(coins(units).replaceAll("\u202f", " ")).toBe(text);
  });

  test("no digit is lost on the way", () => {
    for (let seed = 1n; seed < 10n ** 38n; seed = seed * 37n + 11n) {
      const [whole = "", part = ""] = coins(seed).replaceAll("\u202f", "").split(".");
      expect(BigInt(whole) * 10n ** 18n + BigInt(part.padEnd(18, "0"))).toBe(seed);
    }
  });
});

test("figures read well", () => {
  expect(grouped(1234567).replaceAll("\u202f", " ")).toBe("1 234 567");
  expect(milliseconds(999.4)).toBe("999 ms");
  expect(milliseconds(1234)).toBe("1.23 s");
  expect([rate(0), rate(3.14), rate(250.4)]).toEqual(["0", "3.1", "250"]);
  expect(plural(1, "vertex", "vertices")).toBe("1 vertex");
  expect(short(ID)).toBe("9ee926da…4a0124");
  expect(statusWords("nonce_used")).toBe("Nonce used");
});

describe("search", () => {
  test("knows what was typed", () => {
    expect(readQuery(` ${ID.toUpperCase()} `)).toEqual({ kind: "digest", digest: ID });
    expect(readQuery(ID.slice(0, 16))).toEqual({ kind: "vertex", name: ID.slice(0, 16) });
    expect(readQuery("#1 234")).toEqual({ kind: "commit", index: 1234 });
    expect(readQuery("4294967295")).toEqual({ kind: "commit", index: 4294967295 });
    expect(readQuery(ADDRESS)).toEqual({ kind: "address", address: ADDRESS });
    expect(readQuery(ADDRESS.toUpperCase())).toEqual({ kind: "address", address: ADDRESS });
    expect(readQuery("1234567890123456")).toEqual({ kind: "vertex", name: "1234567890123456" });
  });

  test("says what is wrong", () => {
    for (const typed of ["", "0", "4294967296", ID.slice(0, 15), `${ID}0`, "hello", ADDRESS.replace("95", "94"), `${ADDRESS}q`]) {
      expect(readQuery(typed).kind, typed).toBe("wrong");
    }
  });

  test("finds any one wrong character of an address", () => {
    for (let place = 10; place < ADDRESS.length; place++) {
      const other = ADDRESS[place] === "q" ? "p" : "q";
      expect(readQuery(ADDRESS.slice(0, place) + other + ADDRESS.slice(place + 1)).kind).toBe("wrong");
    }
  });
});

describe("routes", () => {
  test("lead back to themselves", () => {
    const routes = [
      { page: "live" },
      { page: "commits" },
      { page: "validators" },
      { page: "commit", index: 12 },
      { page: "transaction", id: ID },
      { page: "account", address: ADDRESS },
      { page: "vertex", name: ID.slice(0, 16) },
    ] as const;
    for (const route of routes) expect(readRoute(hrefOf(route))).toEqual(route);
    expect(readRoute("")).toEqual({ page: "live" });
  });

  test("that are none are missing", () => {
    for (const hash of ["#/commit/0", "#/commit/x", "#/tx/12", "#/commits/3", "#/account/<b>", "#/vertex/12", "#/a/b/c", "#/nothing"]) {
      expect(readRoute(hash).page, hash).toBe("missing");
    }
  });
});

describe("commit list", () => {
  const commits = (first: number, last: number): CommitSummary[] =>
    Array.from({ length: last - first + 1 }, (_, at) => ({ commit_index: first + at }) as CommitSummary);
  const indices = (list: CommitList): number[] => list.commits.map((commit) => commit.commit_index);

  test("takes later commits in front, each once", () => {
    const list = CommitList.of(commits(1, 3)).with(commits(2, 5));
    expect(indices(list)).toEqual([5, 4, 3, 2, 1]);
  });

  test("keeps its length while it follows, and an unbroken run", () => {
    const list = CommitList.of(commits(1, 80));
    expect(list.with(commits(81, 90)).commits).toHaveLength(80);
    expect(indices(list.with(commits(100, 102)))).toEqual([102, 101, 100]);
  });

  test("takes older commits only where they join on", () => {
    const list = CommitList.of(commits(10, 12));
    expect(indices(list.before(commits(8, 9)))).toEqual([12, 11, 10, 9, 8]);
    expect(list.before(commits(5, 8))).toBe(list);
    expect(list.before([])).toBe(list);
  });
});

describe("charts", () => {
  test("show whole seconds alone, with empty ones between", () => {
    const series = new Series();
    series.commit(1_000_500, 5, [1_000_000]);
    series.commit(1_001_100, 7, [1_000_100, 1_001_200]);
    series.vertices(1_003_900, 4);
    const past = series.past(1_004_000);
    expect(past.map((second) => second.transactions)).toEqual([7, 0, 0]);
    expect(past.map((second) => second.vertices)).toEqual([0, 0, 4]);
    expect(past[0]?.finalityMs).toEqual([1000, 0]); // a clock that is ahead counts as 0
  });

  test("hold two minutes", () => {
    const series = new Series();
    for (let second = 0; second < 500; second++) series.commit(second * 1000, second, []);
    const past = series.past(500_000);
    expect(past).toHaveLength(120);
    expect(past[119]?.transactions).toBe(499);
  });

  test("figures of samples", () => {
    expect(quantile([], 0.5)).toBeNull();
    expect(quantile([3, 1, 2], 0.5)).toBe(2);
    expect(quantile([1, 2, 3, 4], 0.99)).toBe(4);
    expect(recent([1, 2, 3], 2)).toBe(2.5);
    expect(recent([], 5)).toBe(0);
    expect([0, 1, 1.1, 2, 3, 501, 1000].map(niceCeiling)).toEqual([1, 1, 2, 2, 5, 1000, 1000]);
  });

  test("a gap lifts the pen", () => {
    expect(pathOf([1, 1, null, 1], 1).match(/M/g)).toHaveLength(2);
    expect(pathOf([], 1)).toBe("");
  });
});
