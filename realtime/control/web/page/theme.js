// Dark or light, before the first paint: as chosen here, else as the system has it. All else asks data-theme.

{
  const system = matchMedia("(prefers-color-scheme: light)");
  const follow = () => { document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (system.matches ? "light" : "dark"); };
  system.addEventListener("change", follow);
  follow();
}
