import { render } from "preact";
import { createApi } from "./api/client";
import { App } from "./App";
import { Router } from "./router";
import { Console } from "./store/console";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/home.css";
import "./styles/viewer.css";

const root = document.getElementById("app");
if (root) {
  const api = createApi();
  const model = new Console(api);
  const router = new Router(window);
  void model.start();
  render(<App api={api} model={model} router={router} />, root);
}
