import type { ReactNode } from "react";

export const metadata = { title: "Talk to the bot" };

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>{children}</body>
    </html>
  );
}
