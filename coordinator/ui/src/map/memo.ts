import { Component, type ComponentType, h } from "preact";

/** Draws again only when a property is another one. */
export function memo<P extends object>(Inner: ComponentType<P>): ComponentType<P> {
  return class Memo extends Component<P> {
    override shouldComponentUpdate(next: P): boolean {
      const own = this.props as Record<string, unknown>;
      return Object.entries(next).some(([name, value]) => !Object.is(own[name], value));
    }
    override render() {
      return h(Inner, this.props as P & { children?: never });
    }
  };
}
