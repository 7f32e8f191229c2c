// A picture that shows the value under the pointer, and reports clicks and dragged rectangles.
// All text is set by textContent or setAttribute: nothing from the data is read as HTML.

function render({ model, el }) {
  const box = document.createElement("div");
  const image = document.createElement("img");
  const tip = document.createElement("div");
  const marked = document.createElement("div");
  box.className = "mm-picture";
  tip.className = "mm-tip";
  marked.className = "mm-marked";
  image.draggable = false;
  tip.hidden = marked.hidden = true;
  box.append(image, marked, tip);
  el.append(box);
  let start = null;

  const spots = () => model.get("spots");
  const inside = ([left, top, width, height], x, y) =>
    x >= left && y >= top && x < left + width && y < top + height;

  function place(event) { // in pixels of the picture
    const seen = image.getBoundingClientRect();
    const scale = image.naturalWidth / seen.width;
    return [(event.clientX - seen.left) * scale, (event.clientY - seen.top) * scale, scale];
  }

  function describe(spot, x, y) {
    if (!spot.values) return spot.text;
    const [left, top, width, height] = spot.box;
    const row = Math.floor(((y - top) / height) * spot.values.length);
    const line = spot.values[row];
    return spot.text + line[Math.floor(((x - left) / width) * line.length)];
  }

  function share([left, top, width, height], x, y) {
    const clip = (value) => Math.min(1, Math.max(0, value));
    return [clip((x - left) / width), clip((y - top) / height)];
  }

  function hover(event) {
    const [x, y, scale] = place(event);
    if (start) {
      const [left, top, width, height] = spots()[start.spot].box;
      const [x1, y1] = share(spots()[start.spot].box, x, y);
      start.box = [Math.min(start.x, x1), Math.min(start.y, y1),
                   Math.abs(x1 - start.x), Math.abs(y1 - start.y)];
      const style = { left: left + start.box[0] * width, top: top + start.box[1] * height,
                      width: start.box[2] * width, height: start.box[3] * height };
      for (const [name, value] of Object.entries(style)) marked.style[name] = `${value / scale}px`;
      marked.hidden = false;
      return;
    }
    const spot = spots().find((one) => inside(one.box, x, y));
    tip.hidden = !spot;
    if (!spot) return;
    tip.textContent = describe(spot, x, y);
    const right = x / scale > box.clientWidth / 2;
    tip.style.left = right ? "auto" : `${x / scale + 12}px`;
    tip.style.right = right ? `${box.clientWidth - x / scale + 12}px` : "auto";
    tip.style.top = `${y / scale + 14}px`;
  }

  function down(event) {
    const [x, y] = place(event);
    const spot = spots().findIndex((one) => one.drag && inside(one.box, x, y));
    if (spot < 0) return;
    const [sx, sy] = share(spots()[spot].box, x, y);
    start = { spot, x: sx, y: sy, box: null };
    tip.hidden = true;
    image.setPointerCapture(event.pointerId);
  }

  function up(event) {
    const dragged = start;
    start = null;
    marked.hidden = true;
    if (dragged?.box && dragged.box[2] > 0.03 && dragged.box[3] > 0.03) {
      model.send({ spot: dragged.spot, box: dragged.box });
      return;
    }
    const [x, y] = place(event);
    const spot = spots().findIndex((one) => inside(one.box, x, y));
    if (spot >= 0) model.send({ spot });
  }

  image.addEventListener("pointermove", hover);
  image.addEventListener("pointerleave", () => { if (!start) tip.hidden = true; });
  image.addEventListener("pointerdown", down);
  image.addEventListener("pointerup", up);
  image.addEventListener("pointercancel", () => { start = null; marked.hidden = true; });

  let url = null;
  function show() {
    const before = url;
    url = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    image.src = url;
    image.hidden = !model.get("value").byteLength;
    if (before) URL.revokeObjectURL(before);
  }
  function name() { image.setAttribute("alt", model.get("alt")); }
  model.on("change:value", show);
  model.on("change:alt", name);
  show();
  name();
  return () => URL.revokeObjectURL(url);
}

export default { render };
