import { render } from "preact";
import "./style/base.css";
import "./style/frame.css";
import "./style/map.css";
import "./style/sheets.css";
import "./style/pages.css";
import { App } from "./frame/App";
import { start } from "./state/live";

start();
render(<App />, document.getElementById("app")!);
