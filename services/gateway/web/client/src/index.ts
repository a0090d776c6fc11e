export { Client, type ClientOptions, type State, type WebSocketLike } from "./client.js";
export { type Gap, type Handlers, type SubscribeOptions, type Subscription } from "./subscription.js";
export { type Replay, type ReplayHandlers, type ReplayOptions } from "./replay.js";
export { type Cursor, isAfter, parseCursor } from "./cursor.js";
export { GatewayError, type Frame, type ReplayState, type Skipped, type Spec, type SubscriptionState, type Welcome } from "./frames.js";
export * from "./messages.js";
