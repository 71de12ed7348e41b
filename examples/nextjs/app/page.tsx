import { Call } from "./call";

export default function Page() {
  return (
    <main>
      <h1>Talk to the bot</h1>
      <Call />
    </main>
  );
}
