// A link that hands a file over to the web browser; there is none before there is a file.

function render({ model, el }) {
  const link = document.createElement("a");
  link.className = "mm-download";
  el.append(link);
  let url = null;
  function show() {
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([model.get("value")], { type: "image/png" }));
    link.href = url;
    link.download = link.title = model.get("name");
    link.textContent = "Download";
    link.hidden = !model.get("name");
  }
  model.on("change:name", show);
  model.on("change:value", show);
  show();
  return () => URL.revokeObjectURL(url);
}

export default { render };
