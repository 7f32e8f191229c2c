// Names the controls of the browser for screen readers: ipywidgets leaves sliders without a name.

function render({ model, el }) {
  const controls = "input, select, button, [role=slider], [role=progressbar]";
  function name() {
    const panel = el.closest(".mm-browser");
    if (!panel) return;
    for (const [kind, text] of Object.entries(model.get("names")))
      for (const one of panel.querySelectorAll(`.mm-${kind}`))
        for (const control of one.matches(controls) ? [one] : one.querySelectorAll(controls))
          if (control.getAttribute("aria-label") !== text) control.setAttribute("aria-label", text);
  }
  const watch = new MutationObserver(name);
  const timer = setTimeout(() => {
    name();
    const panel = el.closest(".mm-browser");
    if (panel) watch.observe(panel, { childList: true, subtree: true });
  }, 0);
  return () => { clearTimeout(timer); watch.disconnect(); };
}

export default { render };
