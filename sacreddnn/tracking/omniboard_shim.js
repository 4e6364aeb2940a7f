// What Omniboard 2.16.1 does not do for itself. Loaded before it: node -r omniboard_shim.js .../dist/start.js
//
//   it listens on one address and port only, by default on loopback; a taken port ends it
//   requests of other web sites are refused, and those without the password where one is set
//   nothing of a run can be changed but its notes and tags, whatever a request's body says
//   a file or a run that does not exist is answered 404; Omniboard would die of it
//   an outage of the database ends with the outage
//   a browser's first look at the list shows the columns that it is told in SACREDDNN_COLUMNS
//   it ends when its standard input ends, that is with the process that started it
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');

const take = name => {
  const value = process.env[name] || '';
  delete process.env[name];
  return value;
};
const HOST = take('SACREDDNN_HOST') || '127.0.0.1';
const PORT = Number(process.env.PORT);
const PASSWORD = take('SACREDDNN_DASHBOARD_PASSWORD');
const COLUMNS = JSON.parse(take('SACREDDNN_COLUMNS') || '[]'); // [name, path in the run document], ..
const PORT_TAKEN = 98;
const OMNIBOARD = path.dirname(path.dirname(path.resolve(process.argv[1])));

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
process.stdin.on('error', () => process.exit(0));

// ---- where it listens

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  // Omniboard itself would go on to the next port
  this.prependOnceListener('error', error => {
    console.error(`cannot listen on ${HOST}:${PORT}: ${error.code}`);
    process.exit(error.code === 'EADDRINUSE' ? PORT_TAKEN : 1);
  });
  return listen.call(this, {host: HOST, port: PORT, exclusive: true}, ...args.filter(a => typeof a === 'function'));
};

// ---- the database

const mongoose = require(require.resolve('mongoose', {paths: [OMNIBOARD]}));
const options = {useNewUrlParser: true, useUnifiedTopology: true, serverSelectionTimeoutMS: 5000};
mongoose.set('useUnifiedTopology', true);
mongoose.set('useFindAndModify', false);
const createConnection = mongoose.createConnection;
let connection = null;
mongoose.createConnection = url => {
  connection = createConnection.call(mongoose, url, {...options, autoIndex: false, poolSize: 10});
  return connection;
};

// ---- who may ask, and for what

const LOCAL = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i;
const WRITABLE = /^\/sacred\/api\/v1\/Omniboard\.(Custom\.Columns|Metric\.Columns|Settings)(\/[0-9a-f]{24})?\/?$/;
const NOTES = /^\/sacred\/api\/v1\/Runs\/\d+\/?$/;

const digest = text => crypto.createHash('sha256').update(text).digest();

function authorized(header) {
  if (!PASSWORD) return true;
  const given = Buffer.from((header || '').replace(/^Basic +/i, ''), 'base64').toString();
  // equal lengths, compared in constant time; the user's name does not matter
  return crypto.timingSafeEqual(digest(given.slice(given.indexOf(':') + 1)), digest(PASSWORD));
}

// A leading slash, then ASCII without space, # and \: from anything else Express reads another path than is checked here.
const PLAIN = /^\/[!"$-[\]-~]*$/;

// Status, headers and reason of a refusal; null: go on.
function refusal(request) {
  const {host, origin, authorization} = request.headers;
  const site = request.headers['sec-fetch-site'] || 'none';
  const reads = ['GET', 'HEAD'].includes(request.method);
  const follows = reads && request.headers['sec-fetch-mode'] === 'navigate'; // a link from elsewhere
  // another name of this machine in a browser: a web site that has its name point here
  if (!host || !(LOCAL.test(host) || PASSWORD)) return [403, {}, 'open it as http://127.0.0.1'];
  const foreign = origin && origin.replace(/^https?:\/\//, '') !== host;
  if (foreign || (!['none', 'same-origin'].includes(site) && !follows)) {
    return [403, {}, 'requests of other web sites are refused'];
  }
  if (!authorized(authorization)) {
    return [401, {'WWW-Authenticate': 'Basic realm="sacreddnn", charset="UTF-8"'}, 'the password is needed'];
  }
  if (!PLAIN.test(request.url)) return [400, {}, 'the address must be a path of printable ASCII without # and \\'];
  const where = request.url.split('?')[0];
  if (!reads && !WRITABLE.test(where) && !(request.method === 'PUT' && NOTES.test(where))) {
    return [403, {}, 'runs are not changed here; python scripts/report.py delete removes one from disk and database'];
  }
  return null;
}

// ---- notes and tags

const LONGEST = 100000; // bytes; as much as Omniboard itself would read

// What is sent, null when it is too long or no JSON.
async function content(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length; // read to its end, so that the sender hears the answer
    if (size <= LONGEST) chunks.push(chunk);
  }
  try {
    return size <= LONGEST ? JSON.parse(Buffer.concat(chunks).toString()) : null;
  } catch (error) {
    return null;
  }
}

// Whether it is what the page sends. Omniboard would write anything else into the run too.
function isNotes(body) {
  const names = value => (value && typeof value === 'object' ? Object.keys(value) : []);
  if (names(body).join() !== 'omniboard') return false;
  const {tags = [], notes = ''} = body.omniboard || {};
  const given = names(body.omniboard);
  return (
    given.length > 0 && given.every(name => ['tags', 'notes'].includes(name)) && typeof notes === 'string' &&
    Array.isArray(tags) && tags.every(tag => typeof tag === 'string')
  );
}

// ---- what exists

const FILES = /\/api\/v1\/files\/(?:(download|preview|downloadAll|source|artifacts)\/)?([^/?]+)/i;

// Asked for a missing one of these, Omniboard throws outside of the request and ends.
async function exists(url) {
  const [, kind, id] = FILES.exec(url) || [];
  if (!id) return true;
  if (/^(downloadAll|source|artifacts)$/i.test(kind || '')) {
    return /^\d+$/.test(id) && (await connection.db.collection('runs').findOne({_id: Number(id)})) !== null;
  }
  if (!/^[0-9a-f]{24}$/i.test(id)) return false;
  const _id = new mongoose.Types.ObjectId(id);
  if ((await connection.db.collection('fs.files').findOne({_id})) === null) return false;
  // without a kind Omniboard takes the first chunk, which an empty file has not
  return Boolean(kind) || (await connection.db.collection('fs.chunks').findOne({files_id: _id})) !== null;
}

// ---- the page

const WIDTHS = {
  _id: 60, experiment_name: 115, status: 115, start_time: 165, test_error: 150, train_error: 150, local_energy: 150,
};

// Omniboard keeps the columns to show in the browser. Before there are any, these are put there.
function page() {
  const shown = ['_id', 'experiment_name', 'status', 'start_time', 'duration', ...COLUMNS.map(([name]) => name)];
  const hidden = ['tags', 'notes', 'hostname', 'command', 'stop_time', 'heartbeat', 'result'];
  const label = name => name.split('_').map(word => word.charAt(0).toUpperCase() + word.slice(1)).join(' ');
  const width = name => WIDTHS[name] || 100;
  const state = {
    columnOrder: shown,
    columnWidths: Object.fromEntries([...shown, ...hidden].map(name => [name, width(name)])),
    dropdownOptions: [...shown, ...hidden].map(name => {
      return {label: label(name), value: name, selected: shown.includes(name)};
    }),
    metricAndCustomColumns: COLUMNS.map(([name, value]) => ({name, value})),
    columnNameMap: {
      experiment_name: 'experiment.name', tags: 'omniboard.tags', notes: 'omniboard.notes', hostname: 'host.hostname',
      ...Object.fromEntries(COLUMNS),
    },
  };
  const text = JSON.stringify(JSON.stringify(state)).replace(/</g, '\\u003c');
  const script = `<script>var k='default|RunsTable|1';localStorage.getItem(k)||localStorage.setItem(k,${text})</script>`;
  const html = fs.readFileSync(path.join(OMNIBOARD, 'web/build/index.html'), 'utf8');
  return html.replace('<body>', () => `<body>${script}`);
}

// ---- every request comes through here

// As `refusal`, from the body and the database.
async function obstacle(request) {
  if (request.method === 'PUT' && NOTES.test(request.url.split('?')[0])) {
    const body = await content(request);
    if (!isNotes(body)) return [403, {}, `of a run only notes and tags are changed here, in ${LONGEST} bytes at most`];
    Object.assign(request, {body, _body: true}); // Express takes it as read
  }
  try {
    return (await exists(request.url)) ? null : [404, {}, 'there is no such file or run'];
  } catch (error) {
    return [503, {}, `the database does not answer: ${error.message}`];
  }
}

function answer(response, status, headers, message) {
  response.writeHead(status, {'Content-Type': 'application/json', ...headers});
  response.end(JSON.stringify({message}));
  return true;
}

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, request, response) {
  if (event !== 'request') return emit.apply(this, arguments);
  response.setHeader('X-Frame-Options', 'SAMEORIGIN');
  // an HTML file among the artifacts may run its scripts, but not as this page
  if (/\/api\/v1\/files\//i.test(request.url)) response.setHeader('Content-Security-Policy', 'sandbox allow-scripts');
  const refused = refusal(request);
  if (refused) return answer(response, ...refused);
  delete request.headers['x-http-method-override']; // else a POST may become anything
  if (request.method === 'GET' && /^\/sacred\/?(\?|$)/.test(request.url) && COLUMNS.length) {
    response.writeHead(200, {'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-cache'});
    response.end(page());
    return true;
  }
  obstacle(request).then(
    found => (found ? answer(response, ...found) : emit.apply(this, arguments)),
    () => request.destroy() // it broke off
  );
  return true;
};
