import type { IPanePrimitive, IPanePrimitivePaneView, IPrimitivePaneRenderer, ITimeScaleApi, Logical, PaneAttachedParameter, Time } from "lightweight-charts";
import type { CanvasRenderingTarget2D } from "fancy-canvas";
import type { Grid } from "../data/grid.js";
import type { Palette, SpanKind } from "./palette.js";

/** A stretch of slots (inclusive) with a meaning: a session, a gap of the ledger, a halt. */
export interface Span {
  from: number;
  to: number;
  kind: SpanKind;
}

/** Something that happened in a slot. */
export interface Mark {
  slot: number;
  text: string;
}

/** What lies behind the data of a pane: sessions as shades, gaps as hatches, halts, and marks of events at its upper edge. */
export class Backdrop implements IPanePrimitive<Time> {
  private spans: readonly Span[] = [];
  private marks: readonly Mark[] = [];
  private grid: Grid | undefined;
  private scale: ITimeScaleApi<Time> | undefined;
  private requestUpdate: (() => void) | undefined;
  private readonly views: readonly IPanePrimitivePaneView[];

  constructor(private colors: Palette) {
    const view = (zOrder: "bottom" | "top", draw: (t: CanvasRenderingTarget2D) => void): IPanePrimitivePaneView => ({
      zOrder: () => zOrder,
      renderer: (): IPrimitivePaneRenderer => ({ draw }),
    });
    this.views = [view("bottom", (t) => this.drawSpans(t)), view("top", (t) => this.drawMarks(t))];
  }

  attached(p: PaneAttachedParameter<Time>): void {
    this.scale = p.chart.timeScale();
    this.requestUpdate = p.requestUpdate;
  }

  detached(): void {
    this.scale = this.requestUpdate = undefined;
  }

  paneViews(): readonly IPanePrimitivePaneView[] {
    return this.views;
  }

  set(grid: Grid, spans: readonly Span[], marks: readonly Mark[]): void {
    this.grid = grid;
    this.spans = spans;
    this.marks = marks;
    this.requestUpdate?.();
  }

  recolor(p: Palette): void {
    this.colors = p;
    this.requestUpdate?.();
  }

  /** Left edge of a slot in pixels of the media. */
  private edge(slot: number): number | null {
    if (!this.scale || !this.grid) return null;
    const x = this.scale.logicalToCoordinate((slot - this.grid.from) as Logical);
    return x === null ? null : x - this.scale.options().barSpacing / 2;
  }

  private drawSpans(target: CanvasRenderingTarget2D): void {
    target.useBitmapCoordinateSpace(({ context: ctx, horizontalPixelRatio: hx, bitmapSize }) => {
      for (const s of this.spans) {
        const a = this.edge(s.from);
        const b = this.edge(s.to + 1);
        if (a === null || b === null) continue;
        const x = Math.max(0, Math.round(a * hx));
        const w = Math.min(bitmapSize.width, Math.max(Math.round(b * hx), x + Math.ceil(2 * hx))) - x;
        if (w <= 0) continue;
        ctx.fillStyle = this.colors.spans[s.kind];
        if (s.kind === "gap") hatch(ctx, x, w, bitmapSize.height, 7 * hx, this.colors.spans.gap);
        else ctx.fillRect(x, 0, w, bitmapSize.height);
      }
    });
  }

  private drawMarks(target: CanvasRenderingTarget2D): void {
    target.useBitmapCoordinateSpace(({ context: ctx, horizontalPixelRatio: hx, verticalPixelRatio: vy, bitmapSize }) => {
      for (const m of this.marks) {
        const a = this.edge(m.slot);
        const b = this.edge(m.slot + 1);
        if (a === null || b === null) continue;
        const x = ((a + b) / 2) * hx;
        if (x < 0 || x > bitmapSize.width) continue;
        const r = 7 * hx;
        ctx.fillStyle = ctx.strokeStyle = this.colors.mark;
        ctx.setLineDash([2 * vy, 3 * vy]);
        ctx.lineWidth = Math.max(1, hx);
        ctx.beginPath();
        ctx.moveTo(x, 2 * r);
        ctx.lineTo(x, bitmapSize.height);
        ctx.stroke();
        ctx.setLineDash([]);
        ctx.beginPath();
        ctx.moveTo(x, 0);
        ctx.lineTo(x + r, r);
        ctx.lineTo(x, 2 * r);
        ctx.lineTo(x - r, r);
        ctx.closePath();
        ctx.fill();
        ctx.fillStyle = this.colors.markText;
        ctx.font = `${Math.round(9 * vy)}px system-ui, sans-serif`;
        ctx.textAlign = "center";
        ctx.textBaseline = "middle";
        ctx.fillText(m.text, x, r);
      }
    });
  }
}

function hatch(ctx: CanvasRenderingContext2D, x: number, w: number, h: number, step: number, color: string): void {
  ctx.save();
  ctx.beginPath();
  ctx.rect(x, 0, w, h);
  ctx.clip();
  ctx.strokeStyle = color;
  ctx.lineWidth = Math.max(1, step / 6);
  ctx.beginPath();
  for (let i = x - h; i < x + w; i += step) {
    ctx.moveTo(i, h);
    ctx.lineTo(i + h, 0);
  }
  ctx.stroke();
  ctx.restore();
}
