declare module "virtual:events" {
  const events: { symbol: string; date: string; kind: string; exact: boolean; title: string }[];
  export default events;
}
