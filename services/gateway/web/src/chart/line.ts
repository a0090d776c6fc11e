import {
  type CustomData, type CustomSeriesOptions, type CustomSeriesPricePlotValues, type CustomSeriesWhitespaceData, type ICustomSeriesPaneRenderer,
  type ICustomSeriesPaneView, type PaneRendererCustomData, type PriceToCoordinateConverter, type Time, customSeriesDefaultOptions,
} from "lightweight-charts";
import type { CanvasRenderingTarget2D } from "fancy-canvas";

export interface LineItem extends CustomData {
  value: number;
  lo?: number;
  hi?: number;
  /** Not joined to the point before it. */
  cut?: boolean;
}

export interface LineOptions extends CustomSeriesOptions {
  lineWidth: number;
  dash: readonly number[];
  band: string;
}

interface Vertex {
  x: number;
  y: number;
  lo?: number;
  hi?: number;
}

/** A line that ends where data ends: the library's own joins its points across whatever is missing between them. */
export class GapLine implements ICustomSeriesPaneView<Time, LineItem, LineOptions>, ICustomSeriesPaneRenderer {
  private data: PaneRendererCustomData<Time, LineItem> | undefined;
  private options: LineOptions | undefined;

  renderer(): ICustomSeriesPaneRenderer {
    return this;
  }

  update(data: PaneRendererCustomData<Time, LineItem>, options: LineOptions): void {
    this.data = data;
    this.options = options;
  }

  priceValueBuilder(d: LineItem): CustomSeriesPricePlotValues {
    return [d.lo ?? d.value, d.hi ?? d.value, d.value];
  }

  isWhitespace(d: LineItem | CustomSeriesWhitespaceData<Time>): d is CustomSeriesWhitespaceData<Time> {
    return (d as Partial<LineItem>).value === undefined;
  }

  defaultOptions(): LineOptions {
    return { ...customSeriesDefaultOptions, lineWidth: 2, dash: [], band: "" };
  }

  draw(target: CanvasRenderingTarget2D, toY: PriceToCoordinateConverter): void {
    const { data, options } = this;
    if (!data?.visibleRange || !options) return;
    target.useBitmapCoordinateSpace(({ context: ctx, horizontalPixelRatio: hx, verticalPixelRatio: vy }) => {
      const from = Math.max(0, data.visibleRange!.from - 1);
      const to = Math.min(data.bars.length, data.visibleRange!.to + 1);
      const runs: Vertex[][] = [];
      for (let i = from; i < to; i++) {
        const bar = data.bars[i]!;
        const d = bar.originalData;
        const y = toY(d.value);
        if (y === null) continue;
        const v: Vertex = { x: bar.x * hx, y: y * vy };
        if (d.lo !== undefined && d.hi !== undefined) {
          v.lo = (toY(d.lo) ?? y) * vy;
          v.hi = (toY(d.hi) ?? y) * vy;
        }
        if (d.cut || runs.length === 0) runs.push([v]);
        else runs[runs.length - 1]!.push(v);
      }
      const width = Math.max(1, options.lineWidth * vy);
      ctx.lineJoin = "round";
      for (const run of runs) {
        if (options.band) band(ctx, run, options.band);
        ctx.strokeStyle = ctx.fillStyle = options.color;
        if (run.length === 1) {
          ctx.beginPath();
          ctx.arc(run[0]!.x, run[0]!.y, width, 0, 2 * Math.PI);
          ctx.fill();
          continue;
        }
        ctx.lineWidth = width;
        ctx.setLineDash(options.dash.map((n) => n * hx));
        ctx.beginPath();
        for (const [i, v] of run.entries()) if (i === 0) ctx.moveTo(v.x, v.y); else ctx.lineTo(v.x, v.y);
        ctx.stroke();
        ctx.setLineDash([]);
      }
    });
  }
}

function band(ctx: CanvasRenderingContext2D, run: readonly Vertex[], color: string): void {
  const whole = run.filter((v) => v.lo !== undefined && v.hi !== undefined);
  if (whole.length < 2) return;
  ctx.beginPath();
  for (const v of whole) ctx.lineTo(v.x, v.hi!);
  for (const v of whole.reverse()) ctx.lineTo(v.x, v.lo!);
  ctx.closePath();
  ctx.fillStyle = color;
  ctx.fill();
}
