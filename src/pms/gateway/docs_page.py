"""The API page: a small renderer of `/openapi.json` that needs no other host (the policy forbids one)."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<title>PMS API</title>
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/docs/page.css">
</head>
<body>
<header><h1>PMS API</h1><p id="about">Reading <a href="/openapi.json">/openapi.json</a> …</p>
<label>Find <input id="find" type="search" autocomplete="off"></label></header>
<main id="operations"></main>
<noscript>Without JavaScript: the description is <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/page.js"></script>
</body>
</html>
"""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h2 { margin: 2rem 0 .5rem; text-transform: capitalize; }
details { border: 1px solid #8884; border-radius: 6px; margin: .4rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
pre { overflow-x: auto; background: #8881; padding: .6rem; border-radius: 6px; }
.method { display: inline-block; min-width: 4.2rem; font-weight: 700; }
.GET .method { color: #2a8; } .POST .method { color: #38c; } .DELETE .method { color: #c44; }
.PUT .method, .PATCH .method { color: #b80; }
.text { color: #888; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; }
"""

SCRIPT = """
'use strict';
const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function resolve(spec, schema) {
  return schema && schema.$ref ? spec.components.schemas[schema.$ref.split('/').pop()] : schema;
}

function nameOf(schema) {
  if (!schema) return 'any';
  if (schema.$ref) return schema.$ref.split('/').pop();
  if (schema.type === 'array') return nameOf(schema.items) + '[]';
  if (schema.anyOf) return schema.anyOf.map(nameOf).join(' | ');
  if (schema.enum) return schema.enum.map((item) => JSON.stringify(item)).join(' | ');
  if ('const' in schema) return JSON.stringify(schema.const);
  return schema.type || 'any';
}

function describe(spec, schema, depth) {
  const whole = resolve(spec, schema);
  if (whole && whole.type === 'array') return '[' + describe(spec, whole.items, depth) + ', …]';
  if (!whole || !whole.properties || depth > 3) return nameOf(schema);
  const pad = '  '.repeat(depth + 1);
  const required = new Set(whole.required || []);
  const lines = Object.entries(whole.properties).map(([name, value]) => {
    const options = value.anyOf || [value];
    const inner = options.find((option) => option.$ref || (option.items && option.items.$ref));
    const text = inner ? describe(spec, inner, depth + 1) : nameOf(value);
    const open = options.some((option) => option.type === 'null') && inner ? ' | null' : '';
    return pad + name + (required.has(name) ? '' : '?') + ': ' + text + open;
  });
  return '{\\n' + lines.join('\\n') + '\\n' + '  '.repeat(depth) + '}';
}

function schemaOf(holder) {
  const content = holder && holder.content && holder.content['application/json'];
  return content && content.schema;
}

function parameters(operation) {
  if (!operation.parameters || operation.parameters.length === 0) return [];
  const rows = operation.parameters.map((item) => element('tr', {},
    element('td', {}, element('code', { textContent: item.name })),
    element('td', { textContent: item.in + (item.required ? ', required' : '') }),
    element('td', { textContent: nameOf(item.schema) }),
    element('td', { className: 'text', textContent: item.description || '' })));
  return [element('h4', { textContent: 'Parameters' }), element('table', {}, ...rows)];
}

function card(spec, path, method, operation) {
  const verb = method.toUpperCase();
  const made = element('details', { className: verb },
    element('summary', {}, element('span', { className: 'method', textContent: verb }),
      element('code', { textContent: path }), ' ',
      element('span', { className: 'text', textContent: operation.description || '' })),
    ...parameters(operation));
  const body = schemaOf(operation.requestBody);
  if (body) {
    made.append(element('h4', { textContent: 'Body' }),
      element('pre', { textContent: describe(spec, body, 0) }));
  }
  for (const [status, answer] of Object.entries(operation.responses)) {
    const schema = schemaOf(answer);
    const title = status + ' ' + (status < '300' ? '' : answer.description);
    made.append(element('h4', { textContent: title }));
    if (schema && status < '300') made.append(element('pre', { textContent: describe(spec, schema, 0) }));
  }
  return made;
}

async function main() {
  const spec = await (await fetch('/openapi.json')).json();
  const { title, version, description } = spec.info;
  document.getElementById('about').textContent = title + ' ' + version + ' · ' + description;
  const groups = new Map();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = (item[method].tags || ['other'])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(card(spec, path, method, item[method]));
    }
  }
  const holder = document.getElementById('operations');
  for (const [tag, cards] of groups) {
    holder.append(element('section', {}, element('h2', { textContent: tag }), ...cards));
  }
  document.getElementById('find').addEventListener('input', (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const one of holder.querySelectorAll('details')) {
      one.hidden = !one.querySelector('summary').textContent.toLowerCase().includes(wanted);
    }
  });
}

main().catch((error) => { document.getElementById('about').textContent = 'Failed: ' + error; });
"""
