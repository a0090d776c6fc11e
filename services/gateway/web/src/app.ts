import { Client } from "@hashpivot/client";
import { Sync } from "./chart/timechart.js";
import { RANGES, rangeNamed } from "./data/grid.js";
import { History, loadEvents, rangeWithData } from "./data/history.js";
import { EQUITIES, Model } from "./data/model.js";
import { Lead, Live, Playback, type SourceEvents } from "./data/source.js";
import { dateUTC, num } from "./format.js";
import { ComparePanel } from "./ui/compare.js";
import { el, setText } from "./ui/dom.js";
import { EquityPanel } from "./ui/equity.js";
import { EventsPanel } from "./ui/events.js";
import { FeedsPanel, GapsPanel } from "./ui/feeds.js";
import { GPUPanel } from "./ui/gpus.js";
import { HashpricePanel } from "./ui/hashprice.js";
import { Header } from "./ui/header.js";
import { helpDialog } from "./ui/help.js";
import { onKeys } from "./ui/keys.js";
import type { Panel, Scene } from "./ui/panel.js";
import { PivotPanel } from "./ui/pivot.js";
import { ReplayBar } from "./ui/replaybar.js";
import { type View, SPEEDS, fromHash, toHash } from "./view.js";

const DAY = 86_400_000;

/** The page: one view, one model of what it shows, panels that draw it once a frame. */
export class App {
  private view: View = fromHash(location.hash);
  private model: Model;
  private readonly client: Client;
  private readonly panels: Panel[];
  private readonly header: Header;
  private readonly replayBar: ReplayBar;
  private readonly help = helpDialog();
  private readonly banner = el("div", { class: "banner", role: "alert", hidden: true });
  private readonly status = el("span");
  private live: Live | undefined;
  private playback: Playback | undefined;
  private history: History | Lead | undefined;
  private dark = true;
  private drawn = false;
  /** The gateway's clock less ours. */
  private offsetMs = 0;
  private replayMs = 0;
  private mode: string | undefined;
  private messages = 0;
  private pruned = 0;
  private painted = false;
  private readonly system = matchMedia("(prefers-color-scheme: light)");

  constructor() {
    this.model = new Model(rangeNamed(this.view.range));
    this.applyTheme();
    const sync = new Sync();
    const actions = {
      setGPU: (gpu: string) => this.change({ gpu }, true),
      setClass: (cls: string) => this.change({ cls }, false),
      toggleCompare: (id: string) => {
        const c = this.view.compare;
        this.change({ compare: c.includes(id) ? c.filter((x) => x !== id) : [...c, id] }, false);
      },
    };
    this.panels = [
      new PivotPanel(sync, actions, this.dark), new HashpricePanel(sync, this.dark), new GPUPanel(sync, actions, this.dark),
      ...EQUITIES.map((s) => new EquityPanel(s, sync, this.dark)), new ComparePanel(sync, actions, this.dark), new EventsPanel(), new FeedsPanel(), new GapsPanel(),
    ];
    document.getElementById("main")!.append(this.banner, ...this.panels.map((p) => p.root));
    document.body.append(this.help);
    this.header = new Header(document.getElementById("header")!, {
      setRange: (range) => this.change({ range }, true), switchTheme: () => this.switchTheme(), help: () => this.help.showModal(), reconnect: () => this.client.reconnect(),
    });
    this.replayBar = new ReplayBar(
      document.getElementById("replay")!,
      { goTo: (ms) => this.goTo(ms), goLive: () => this.goLive(), setPaused: (p) => this.setPaused(p), setSpeed: (s) => this.setSpeed(s) },
      () => this.serverNow(),
    );
    document.getElementById("footer")!.append(
      this.status,
      el("a", { href: "research/" }, "Nightly research"),
      el("span", {}, "Charts: TradingView Lightweight Charts™, © 2025 ", el("a", { href: "https://www.tradingview.com/", rel: "noreferrer" }, "TradingView, Inc."), ", Apache 2.0"),
    );

    const url = new URL("v1/ws", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.hash = url.search = "";
    this.client = new Client(url, {
      onState: (s) => {
        if (s.welcome && s.phase === "open") {
          this.offsetMs = Date.parse(s.welcome.time) - Date.now();
          this.mode = s.welcome.mode;
        }
        this.wake();
      },
      onError: (err) => this.fail(err.message),
    });
    void this.begin();

    window.addEventListener("hashchange", () => {
      if (location.hash === toHash(this.view)) return;
      this.view = fromHash(location.hash);
      this.applyTheme();
      for (const p of this.panels) p.recolor(this.dark);
      this.load();
    });
    this.system.addEventListener("change", () => {
      this.applyTheme();
      for (const p of this.panels) p.recolor(this.dark);
      this.wake();
    });
    onKeys({
      range: (i) => RANGES[i] && this.change({ range: RANGES[i]!.name }, true),
      theme: () => this.switchTheme(),
      gpu: () => this.nextGPU(),
      cls: () => this.change({ cls: this.view.cls === "on-demand" ? "interruptible" : this.view.cls === "interruptible" ? "reserved" : "on-demand" }, false),
      replay: () => this.goTo(this.serverNow() - DAY),
      live: () => this.goLive(),
      pause: () => this.view.at !== undefined && this.setPaused(!this.view.paused),
      step: (ms) => this.goTo(this.now() + ms),
      faster: (by) => {
        const i = SPEEDS.findIndex((s) => s >= this.view.speed) + by;
        if (SPEEDS[i]) this.setSpeed(SPEEDS[i]!);
      },
      fit: () => sync.charts.forEach((c) => c.fit()),
      help: () => this.help.showModal(),
    });
    setInterval(() => this.wake(), 1000); // ages grow without news
  }

  /** A link says what to show; without one it is the shortest range that has something to show. */
  private async begin(): Promise<void> {
    if (!/[#&](range|at)=/.test(location.hash)) {
      const range = await rangeWithData();
      if (this.history) return; // somebody chose meanwhile
      this.view = { ...this.view, range };
    }
    this.load();
  }

  private serverNow(): number {
    return Date.now() + this.offsetMs;
  }

  private now(): number {
    return this.view.at === undefined ? this.serverNow() : this.replayMs;
  }

  /** Draws once in the next frame, however much comes until then. */
  private wake(): void {
    if (this.drawn) return;
    this.drawn = true;
    requestAnimationFrame(() => {
      this.drawn = false;
      this.draw();
    });
  }

  private draw(): void {
    const nowMs = this.now();
    const grid = this.model.grid(nowMs);
    if (grid.from !== this.pruned) {
      this.pruned = grid.from;
      this.model.prune(grid);
    }
    const scene: Scene = { model: this.model, grid, nowMs, view: this.view, live: this.view.at === undefined, dark: this.dark };
    const state = this.client.state;
    const newest = Math.max(0, ...this.model.lastOf.values());
    this.header.draw(state, this.mode, this.view, nowMs, this.view.at === undefined ? newest : this.model.latestMs, this.dark);
    for (const p of this.panels) p.draw(scene);
    this.replayBar.draw(this.view, nowMs, this.serverNow(), this.playback?.ended ?? false);
    const followed = this.live?.followed ?? [];
    const received = followed.reduce((n, f) => n + f.subscription.received, 0);
    const skipped = followed.reduce((n, f) => n + f.skipped, 0);
    setText(
      this.status,
      `${num(received, 0)} live messages, ${num(skipped, 0)} conflated as asked, ${followed.reduce((n, f) => n + f.subscription.dropped, 0)} doubles dropped, ` +
        `${followed.reduce((n, f) => n + f.holes, 0)} holes filled from history`,
    );
    // What was received and up to where, for whoever counts.
    this.status.dataset["followed"] = JSON.stringify(
      followed.map((f) => ({ channel: f.channel, sub: f.subscription.sub, position: f.subscription.position, received: f.subscription.received })),
    );
    this.status.dataset["messages"] = String(this.messages);
    document.title = this.title();
    if (!this.painted && this.model.signals.size > 0) {
      this.painted = true;
      performance.mark("hashpivot:data");
    }
  }

  private title(): string {
    const premium = this.model.signals.get(`pivot-premium/${this.view.gpu}`);
    const mark = this.mode === "sim" ? "SIMULATED " : this.mode === "recorded" ? "RECORDED " : "";
    return `${mark}${premium ? `${num(Number(premium.value ?? 0), 2)}× · ` : ""}hashpivot${this.view.at === undefined ? "" : ` · ${dateUTC(this.replayMs)}`}`;
  }

  private events(): SourceEvents {
    return {
      changed: () => {
        this.messages++;
        this.wake();
      },
      loaded: (cut) => {
        if (cut) this.fail(`The range of ${this.model.range.label} has more history than this page reads at once: the beginning of it is drawn, and what is live.`);
        document.body.dataset["loaded"] = this.model.range.name;
        this.wake();
      },
      failed: (words) => this.fail(words),
    };
  }

  private fail(words: string): void {
    this.banner.hidden = false;
    setText(this.banner, words);
  }

  /** Shows the view from nothing: another range, another moment. */
  private load(): void {
    this.history?.stop();
    this.live?.stop();
    this.playback?.stop();
    this.live = this.playback = undefined;
    this.banner.hidden = true;
    delete document.body.dataset["loaded"];
    const model = (this.model = new Model(rangeNamed(this.view.range)));
    const ev = this.events();
    if (this.view.at === undefined) {
      // First the present, then the past: what lies between them is in both.
      this.live = new Live(this.client, model, { ...ev, missed: () => this.backfill() });
      this.history = new History(model, this.view, this.serverNow() + 60_000, ev);
    } else {
      const at = Math.min(this.view.at, this.serverNow() - 1000);
      this.replayMs = at;
      const view = this.view;
      loadEvents(model, ev);
      this.history = new Lead(this.client, model, view, at, {
        ...ev,
        loaded: (cut) => {
          ev.loaded(cut);
          this.play(model);
        },
      });
    }
    history.replaceState(null, "", toHash(this.view));
    this.wake();
  }

  private play(model: Model): void {
    if (model !== this.model || this.view.at === undefined || this.view.paused || this.playback) return;
    this.playback = new Playback(this.client, model, this.view, this.replayMs, this.serverNow(), {
      ...this.events(),
      time: (ms) => {
        if (this.view.at !== undefined && this.model === model) this.replayMs = Math.max(this.replayMs, ms);
      },
    });
  }

  /** What a slow line or a remade stream took from us is in the tables. */
  private backfill(): void {
    this.history?.stop();
    this.history = new History(this.model, this.view, this.serverNow() + 60_000, this.events());
  }

  private change(part: Partial<View>, reload: boolean): void {
    if (this.view.at !== undefined) this.view.at = this.replayMs;
    this.view = { ...this.view, ...part };
    if (reload) this.load();
    else {
      history.replaceState(null, "", toHash(this.view));
      this.wake();
    }
  }

  private goTo(ms: number): void {
    this.change({ at: Math.min(ms, this.serverNow() - 1000) }, false);
    this.view.at = Math.min(ms, this.serverNow() - 1000);
    this.load();
  }

  private goLive(): void {
    if (this.view.at === undefined) return;
    this.view = { ...this.view, at: undefined, paused: false };
    this.load();
  }

  private setPaused(paused: boolean): void {
    this.change({ paused }, false);
    if (this.playback) this.playback.setPaused(paused);
    else if (!paused) this.play(this.model);
  }

  private setSpeed(speed: number): void {
    this.change({ speed }, false);
    this.playback?.setSpeed(speed);
  }

  private nextGPU(): void {
    const all = [...new Set([...this.model.rates.values()].map((r) => r.gpu))].sort();
    const next = all[(all.indexOf(this.view.gpu) + 1) % all.length];
    if (next) this.change({ gpu: next }, true);
  }

  private switchTheme(): void {
    this.change({ theme: this.dark ? "light" : "dark" }, false);
    this.applyTheme();
    for (const p of this.panels) p.recolor(this.dark);
    this.wake();
  }

  private applyTheme(): void {
    this.dark = this.view.theme === "auto" ? !this.system.matches : this.view.theme === "dark";
    document.documentElement.dataset["theme"] = this.dark ? "dark" : "light";
  }
}
