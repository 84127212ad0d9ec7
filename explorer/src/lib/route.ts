/** Places of the explorer, as the hash of its address. */

export type Route =
  | { readonly page: "live" }
  | { readonly page: "commits" }
  | { readonly page: "commit"; readonly index: number }
  | { readonly page: "transaction"; readonly id: string }
  | { readonly page: "account"; readonly address: string }
  | { readonly page: "vertex"; readonly name: string }
  | { readonly page: "validators" }
  | { readonly page: "missing"; readonly path: string };

export function readRoute(hash: string): Route {
  const [page = "", value = "", ...rest] = hash.replace(/^#?\/?/, "").split("/");
  if (rest.length === 0) {
    if (page === "" && value === "") return { page: "live" };
    if (page === "commits" && value === "") return { page };
    if (page === "validators" && value === "") return { page };
    if (page === "commit" && /^[1-9]\d{0,9}$/.test(value)) return { page, index: Number(value) };
    if (page === "tx" && /^[0-9a-f]{64}$/.test(value)) return { page: "transaction", id: value };
    if (page === "account" && /^[a-z0-9]{1,90}$/.test(value)) return { page, address: value };
    if (page === "vertex" && /^[0-9a-f]{16,64}$/.test(value)) return { page, name: value };
  }
  return { page: "missing", path: hash };
}

export function hrefOf(route: Exclude<Route, { page: "missing" }>): string {
  switch (route.page) {
    case "live":
      return "#/";
    case "commit":
      return `#/commit/${route.index}`;
    case "transaction":
      return `#/tx/${route.id}`;
    case "account":
      return `#/account/${route.address}`;
    case "vertex":
      return `#/vertex/${route.name}`;
    default:
      return `#/${route.page}`;
  }
}
