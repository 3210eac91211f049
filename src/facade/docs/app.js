"use strict";
// Shows /openapi.json and sends what is typed in. Everything from the document or a server is text, never markup.

const METHODS = ["get", "post", "put", "patch", "delete"];

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

const element = (id) => document.getElementById(id);

function login() {
  const scheme = element("scheme").value;
  const secret = element("secret").value;
  const utf8 = (text) => String.fromCharCode(...new TextEncoder().encode(text));
  if (scheme === "basic") return { authorization: "Basic " + btoa(utf8(element("user").value + ":" + secret)) };
  if (scheme === "bearer") return { authorization: "Bearer " + secret };
  if (scheme === "apiKey") return { "x-api-key": secret };
  return {};
}

function showLogin() {
  const scheme = element("scheme").value;
  element("user").hidden = scheme !== "basic";
  element("secret").hidden = scheme === "none";
}

function example(api, schema) {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  const found = name ? api.components.schemas[name] : schema;
  return found && found.examples ? found.examples[0] : undefined;
}

// One line of input per parameter; the path's own are required.
function inputs(parameters) {
  return parameters.map((parameter) => {
    const given = parameter.in === "path" ? parameter.example : undefined;
    const field = make("input", {
      name: parameter.name,
      value: given,
      placeholder: parameter.example === undefined ? "" : String(parameter.example),
      required: parameter.required,
      size: 44,
    });
    const label = make("label", {}, make("span", {}, parameter.name), field);
    if (parameter.description) label.append(make("small", {}, parameter.description));
    return { parameter, field, label };
  });
}

function address(path, fields) {
  let target = path;
  const query = new URLSearchParams();
  for (const { parameter, field } of fields) {
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(field.value));
    else if (parameter.in === "query" && field.value !== "") query.append(parameter.name, field.value);
  }
  const text = query.toString();
  return text === "" ? target : `${target}?${text}`;
}

async function send(method, path, fields, body, out) {
  const headers = login();
  for (const { parameter, field } of fields) {
    if (parameter.in === "header" && field.value !== "") headers[parameter.name] = field.value;
  }
  if (body) headers["content-type"] = body.dataset.kind;
  const target = address(path, fields);
  out.replaceChildren(make("p", {}, `${method.toUpperCase()} ${target}`));
  try {
    const response = await fetch(target, { method: method.toUpperCase(), headers, body: body ? body.value : undefined });
    const told = ["etag", "location", "link", "correlation-id", "twinops-owner", "retry-after"];
    const shown = told.filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
    const status = make("span", { class: "status" }, `${response.status} ${response.statusText}`);
    out.append(make("p", {}, status), make("pre", {}, shown.join("\n")));
    if ((response.headers.get("content-type") || "").startsWith("text/event-stream")) {
      await stream(response, out);
    } else {
      out.append(make("pre", { class: "body" }, pretty(await response.text())));
    }
  } catch (error) {
    out.append(make("p", { class: "status" }, String(error)));
  }
}

async function stream(response, out) {
  const told = out.appendChild(make("pre", { class: "body" }));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let piece = await reader.read(); !piece.done && told.isConnected; piece = await reader.read()) {
    told.textContent += piece.value;
  }
  await reader.cancel();
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function listen(path, fields, out) {
  const url = new URL(address(path, fields), location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const told = make("pre", { class: "body" });
  const socket = new WebSocket(url);
  const line = make("input", { size: 60, placeholder: '{"type":"subscribe","filter":"like(thingId,\'*\')"}' });
  const say = make("button", {}, "Send");
  say.addEventListener("click", () => socket.send(line.value));
  const stop = make("button", {}, "Close");
  stop.addEventListener("click", () => socket.close());
  out.replaceChildren(make("p", {}, String(url)), stop, told);
  if (path.endsWith("/ditto")) told.before(line, say);
  socket.onopen = () => told.append("open\n");
  socket.onmessage = (event) => told.append(event.data + "\n");
  socket.onclose = (event) => told.append(`closed ${event.code} ${event.reason}\n`);
}

function operation(api, path, method, item) {
  const described = item[method];
  const fields = inputs([...(item.parameters || []), ...(described.parameters || [])]);
  const form = make("div", {}, ...fields.map(({ label }) => label));
  let body = null;
  for (const [kind, content] of Object.entries((described.requestBody || { content: {} }).content)) {
    body = make("textarea", { "aria-label": "body", spellcheck: "false" });
    body.dataset.kind = kind;
    body.value = JSON.stringify(example(api, content.schema) ?? {}, null, 2);
    form.append(make("p", {}, kind), body);
  }
  const out = make("div", { class: "answer" });
  const upgrade = "101" in described.responses;
  const go = make("button", { class: "try" }, upgrade ? "Open" : "Try it");
  go.addEventListener("click", () => (upgrade ? listen(path, fields, out) : send(method, path, fields, body, out)));
  const answers = Object.entries(described.responses).map(([status, answer]) =>
    make("tr", {}, make("td", {}, status), make("td", {}, answer.description)));
  form.append(make("p", {}, go), out, make("table", {}, ...answers));
  const title = make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()),
    make("code", {}, path), make("span", {}, described.summary));
  return make("details", { id: described.operationId }, title, form);
}

async function start() {
  const api = await (await fetch("/openapi.json")).json();
  element("version").textContent = api.info.version;
  element("about").textContent = api.info.description;
  for (const { name } of api.tags) {
    const section = make("section", {}, make("h2", {}, name));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS.filter((method) => item[method] && item[method].tags.includes(name))) {
        section.append(operation(api, path, method, item));
      }
    }
    element("routes").append(section);
  }
  document.body.dataset.ready = "true";
}

element("scheme").addEventListener("change", showLogin);
element("login").addEventListener("submit", (event) => event.preventDefault());
start();
