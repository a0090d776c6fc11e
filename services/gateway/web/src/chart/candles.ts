import {
  type CustomData, type CustomSeriesOptions, type CustomSeriesPricePlotValues, type CustomSeriesWhitespaceData, type ICustomSeriesPaneRenderer,
  type ICustomSeriesPaneView, type PaneRendererCustomData, type PriceToCoordinateConverter, type Time, customSeriesDefaultOptions,
} from "lightweight-charts";
import type { CanvasRenderingTarget2D } from "fancy-canvas";

export interface CandleItem extends CustomData {
  open: number;
  high: number;
  low: number;
  close: number;
  /** Slots of the grid that the bar covers. */
  width: number;
}

export interface CandleOptions extends CustomSeriesOptions {
  up: string;
  down: string;
}

/** Candles that may be wider than a slot, hollow when they rise and full when they fall, so that they differ without colour. */
export class Candles implements ICustomSeriesPaneView<Time, CandleItem, CandleOptions>, ICustomSeriesPaneRenderer {
  private data: PaneRendererCustomData<Time, CandleItem> | undefined;
  private options: CandleOptions | undefined;

  renderer(): ICustomSeriesPaneRenderer {
    return this;
  }

  update(data: PaneRendererCustomData<Time, CandleItem>, options: CandleOptions): void {
    this.data = data;
    this.options = options;
  }

  priceValueBuilder(d: CandleItem): CustomSeriesPricePlotValues {
    return [d.low, d.high, d.close];
  }

  isWhitespace(d: CandleItem | CustomSeriesWhitespaceData<Time>): d is CustomSeriesWhitespaceData<Time> {
    return (d as Partial<CandleItem>).close === undefined;
  }

  defaultOptions(): CandleOptions {
    return { ...customSeriesDefaultOptions, up: "", down: "" };
  }

  draw(target: CanvasRenderingTarget2D, toY: PriceToCoordinateConverter): void {
    const { data, options } = this;
    if (!data?.visibleRange || !options) return;
    target.useBitmapCoordinateSpace(({ context: ctx, horizontalPixelRatio: hx, verticalPixelRatio: vy }) => {
      const line = Math.max(1, Math.floor(hx));
      ctx.lineWidth = line;
      for (let i = data.visibleRange!.from; i < data.visibleRange!.to; i++) {
        const bar = data.bars[i]!;
        const d = bar.originalData;
        const [open, high, low, close] = [toY(d.open), toY(d.high), toY(d.low), toY(d.close)];
        if (open === null || high === null || low === null || close === null) continue;
        const wide = data.barSpacing * d.width;
        const left = Math.round((bar.x - data.barSpacing / 2 + wide * 0.15) * hx);
        const width = Math.max(line, Math.round(wide * 0.7 * hx));
        const middle = left + Math.floor(width / 2);
        const rises = d.close >= d.open;
        const top = Math.round(Math.min(open, close) * vy);
        const bottom = Math.max(top + line, Math.round(Math.max(open, close) * vy));
        ctx.fillStyle = ctx.strokeStyle = rises ? options.up : options.down;
        ctx.fillRect(middle - Math.floor(line / 2), Math.round(high * vy), line, Math.max(0, top - Math.round(high * vy)));
        ctx.fillRect(middle - Math.floor(line / 2), bottom, line, Math.max(0, Math.round(low * vy) - bottom));
        if (rises && width > 3 * line) ctx.strokeRect(left + line / 2, top + line / 2, width - line, Math.max(line, bottom - top - line));
        else ctx.fillRect(left, top, width, bottom - top);
      }
    });
  }
}
